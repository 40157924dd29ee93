"""Mutants: one small change of the source each, which some test ought to notice (`python -m mutants`)."""
