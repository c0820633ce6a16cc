"""Tests of insula.emperor.storage."""
