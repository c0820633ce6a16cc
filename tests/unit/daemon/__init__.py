"""Tests of insula.emperor.daemon."""
