"""What clients ask, racing the end, the release and the resumption of the run that they ask it of."""
