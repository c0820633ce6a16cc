"""What the collector promises, with files and answers made up by the tests."""
