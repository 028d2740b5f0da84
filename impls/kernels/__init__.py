"""Compiled inner loops of the CPU implementations; numba is imported only by who needs them."""
