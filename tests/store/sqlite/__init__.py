"""Tests of the store on SQLite, and of group commit on top of it."""
