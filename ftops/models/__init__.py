"""Registered models: versions, aliases, tags, and the records that say so."""
