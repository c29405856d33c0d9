"""The HTTP server: the application on sockets, with limits of its own."""
