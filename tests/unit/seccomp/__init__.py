"""Tests of insula.emperor.seccomp."""
