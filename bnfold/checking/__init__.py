"""Whether two models compute the same: the same inputs through onnxruntime, and a tolerance that says its basis."""

from bnfold.checking.compare import check
from bnfold.checking.report import CheckReport, Comparison, Matchup, OutputComparison

__all__ = ["CheckReport", "Comparison", "Matchup", "OutputComparison", "check"]
