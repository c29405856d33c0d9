"""The command ``workflow-server``."""
