"""Damaged files: a specimen of a database, and what can befall it."""
