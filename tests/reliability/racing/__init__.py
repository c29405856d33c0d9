"""Requests of clients that race with the end, the release and the resumption of their run."""
