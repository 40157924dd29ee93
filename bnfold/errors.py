"""Everything bnfold raises on purpose.

::

    BnfoldError                 exit status 2 unless said otherwise
    ├── ModelError              the model can not be read, or is not what it claims to be
    │   └── ExternalDataError   a file that holds weights is missing, too short or out of bounds
    ├── TargetError             the result can not be written where it was asked for
    ├── UsageError              options that do not fit together, or do not fit this model
    ├── RuntimeUnavailable      onnxruntime, a provider or another optional part is not there
    ├── NormalizationsStayed    asked to be strict, and a BatchNormalization is still there (exit status 1)
    └── DifferenceFound         two graphs do not compute the same (exit status 1)

A text says what happened, where, why, and what to do about it. That a normalization can not be folded is not an
error: see `bnfold.ops.rule.Refusal`.
"""

from __future__ import annotations


class BnfoldError(Exception):
    """Base of every error that bnfold raises on purpose; its text is one clear sentence for a person."""


class ModelError(BnfoldError):
    """The model can not be read, parsed or run."""


class ExternalDataError(ModelError):
    """A file that holds the model's weights is missing, too short or outside the model's folder."""


class TargetError(BnfoldError):
    """The result can not be written to the place that was asked for."""


class UsageError(BnfoldError):
    """Options or data that do not fit together, or do not fit this model."""


class DifferenceFound(BnfoldError):
    """Two graphs do not compute the same, or the comparison could not show that they do."""


class NormalizationsStayed(BnfoldError):
    """The caller asked for none to stay, and some do; the text names the first ones with their reasons."""


class RuntimeUnavailable(BnfoldError):
    """An optional part (onnxruntime, an execution provider) is needed and not there."""
