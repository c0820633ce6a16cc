"""The database's history, written by Django."""
