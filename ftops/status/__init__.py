"""What stands where: resources, runs, their checkpoints and sweeps, and what a machine lacks."""
