"""A data set from its source to its splits, stage by stage, each kept under the digest of what it was made of."""
