"""Training runs: the Axolotl config of each, what it costs, its job followed to the end, and what came out."""
