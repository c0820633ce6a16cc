"""The control plane: knows what should be, and never touches a node."""
