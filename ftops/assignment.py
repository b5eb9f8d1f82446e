"""Which unit gets which arm of an experiment: for applications. Takes Python's standard library only."""

from ftops.experiments.assignment import Allocation, Gate, assign, assign_many, bucket

__all__ = ["Allocation", "Gate", "assign", "assign_many", "bucket"]
