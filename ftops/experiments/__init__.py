"""A/B experiments between model versions: which user gets which, what logs say, and the verdict."""
