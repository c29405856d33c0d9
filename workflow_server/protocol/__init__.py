"""The models that go over the wire."""
