"""Data sets: their rows read, checked, split and written, and what was found in them."""
