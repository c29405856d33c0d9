"""What the attacks serve."""
