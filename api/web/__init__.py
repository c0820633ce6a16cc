"""The operators' pages: Django's admin, which reads the models and calls the actions."""
