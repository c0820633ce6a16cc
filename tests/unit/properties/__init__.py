"""Tests that let hypothesis choose: what is done, in which order, and where it is killed."""
