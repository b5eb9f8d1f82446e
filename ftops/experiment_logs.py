"""Writing the log rows of an experiment: for applications. Takes Python's standard library only."""

from ftops.experiments.logs.client import ExperimentLog

__all__ = ["ExperimentLog"]
