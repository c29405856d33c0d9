"""Ticks that are given to the engine's reducer and to ours, and what becomes of them compared."""
