"""Streams of events on their way to clients."""
