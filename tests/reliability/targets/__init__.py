"""What the attacked servers serve."""
