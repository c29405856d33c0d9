"""Readers: a proxy that cuts connections, readers that come back, and what a server holds for those who do not read."""
