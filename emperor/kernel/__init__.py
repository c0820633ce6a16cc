"""Kernel wrappers: nothing else in the product touches the kernel."""
