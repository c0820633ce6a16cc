"""What the gate promises, without a kernel and without a clock."""
