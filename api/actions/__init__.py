"""The only code that writes to the database; every front door and Django's admin call it."""
