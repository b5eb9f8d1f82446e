"""Sweeps: one training over several hyperparameters, its members, and the best of them."""
