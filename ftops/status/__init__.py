"""Says how far things are: resources, runs, checkpoints, sweeps; and what a machine lacks (`ftops doctor`)."""
