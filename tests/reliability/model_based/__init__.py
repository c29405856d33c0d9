"""A model of what the server must hold, and random sessions over HTTP that are compared with it."""
