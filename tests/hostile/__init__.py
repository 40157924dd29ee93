"""Models that somebody made to do harm, and a process in which to open them: see `tests/test_hostile.py`."""

from hostile import bodies, data_files, expressions, graphs, sizes, texts, values
from hostile.case import CASES

__all__ = ["CASES", "bodies", "data_files", "expressions", "graphs", "sizes", "texts", "values"]
