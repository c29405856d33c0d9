"""Retries of failed runs, killed in the middle, and at random places."""
