"""The contract between API and node: what a container is, and how it is written down."""
