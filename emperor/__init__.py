"""The node: what the Emperor and its daemons stand on."""
