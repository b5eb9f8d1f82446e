"""Near-duplicate texts: which sets of tokens overlap by how much, and the clusters of those that do."""
