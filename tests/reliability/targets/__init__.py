"""The workflows that the attacked servers serve."""
