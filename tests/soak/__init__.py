"""Long tests, run by hand: bin/test --soak."""
