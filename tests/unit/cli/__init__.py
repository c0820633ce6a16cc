"""The `insula` command against a fake API."""
