"""YAML documents that know where each value stands; the quick YAML of records; globs."""
