"""The kill loop: points at which a server kills itself, clients that go on whatever happens, and what must hold."""
