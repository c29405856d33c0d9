"""The durable runtime: what makes the engine's runs survive the process."""
