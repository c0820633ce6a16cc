"""Tests of insula.emperor.kernel."""
