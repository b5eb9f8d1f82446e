"""Data sets: what a spec says of one, how its rows are read, checked, split and written, and what was found."""
