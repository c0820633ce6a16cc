"""Tests of insula.configurator."""
