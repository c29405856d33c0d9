"""Values of every kind that users put into events and state, and how two are compared; shared by several folders."""
