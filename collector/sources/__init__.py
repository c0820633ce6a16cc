"""Where the figures come from, one module each."""
