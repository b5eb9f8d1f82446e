"""For applications: gives each unit its arm of an experiment; standard library only."""

from ftops.experiments.assignment import Allocation, Gate, assign, assign_many, bucket

__all__ = ["Allocation", "Gate", "assign", "assign_many", "bucket"]
