"""Sweeps: many runs from one file, here or on Ray."""
