"""Storage faults: calls that fail, one scripted session under each fault, and the verdict on what was told."""
