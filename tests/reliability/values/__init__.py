"""Values: steps that change the state side by side. The values themselves are in ``tests/values``."""
