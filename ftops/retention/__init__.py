"""Finds what of the store nobody needs any more, and removes it."""
