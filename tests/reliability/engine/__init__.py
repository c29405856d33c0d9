"""The engine's own behaviour: what it documents, the samples that show it, and runs on both runtimes."""
