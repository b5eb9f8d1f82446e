"""For applications: writes the log rows of an experiment; standard library only."""

from ftops.experiments.logs.client import ExperimentLog

__all__ = ["ExperimentLog"]
