"""Sweeps: a training run over a grid of hyperparameters, its members, and the best one of them."""
