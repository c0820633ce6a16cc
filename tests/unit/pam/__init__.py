"""Unit tests of the way in: sshd, its PAM stack, enter and logs."""
