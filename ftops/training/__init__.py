"""Training runs: what a spec says of one, its Axolotl config, its job followed to its end, its record."""
