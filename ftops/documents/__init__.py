"""YAML documents and where each value stands in them; the quick YAML of records; globs."""
