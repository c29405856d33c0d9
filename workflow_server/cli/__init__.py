"""The command ``workflow-server``: a module for each subcommand, and what they share."""
