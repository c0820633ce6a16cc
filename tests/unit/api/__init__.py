"""The control plane's tests."""
