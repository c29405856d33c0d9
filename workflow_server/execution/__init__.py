"""The execution of one run on the engine, and what becomes durable of it."""
