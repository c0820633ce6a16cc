"""What `insula explain` promises, with steps made up by the tests."""
