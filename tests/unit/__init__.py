"""Tests that need no root, no network and no clock."""
