"""Faults that whoever edits a graph could make, each planted into a right fold to see a check find it."""

from mutations import interface, numbers, sizes, statistics, structure, weights
from mutations.fault import FAULTS, Fault, Pair

__all__ = ["FAULTS", "Fault", "Pair", "interface", "numbers", "sizes", "statistics", "structure", "weights"]
