"""The threat model, and the attacks that show on a running node that its walls stand."""
