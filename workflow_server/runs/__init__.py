"""The life of runs: starting, sending, resuming, releasing and ending them."""
