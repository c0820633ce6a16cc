"""Tests against the real kernel: they need root."""
