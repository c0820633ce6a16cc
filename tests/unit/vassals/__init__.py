"""Tests of insula.vassals."""
