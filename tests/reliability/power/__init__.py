"""Power loss: a recorded session, the disk as it may be found after a cut, and what recovery must find there."""
