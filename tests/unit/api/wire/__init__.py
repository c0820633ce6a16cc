"""The ancestor's wire format, asked as its clients ask."""
