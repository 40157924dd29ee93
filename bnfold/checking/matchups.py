"""Where two models are compared: on one execution provider, or on each that can run them and across."""

from __future__ import annotations

from bnfold.checking.report import Matchup
from bnfold.checking.settings import ALL, Settings
from bnfold.checking.subject import Subject
from bnfold.errors import ModelError, RuntimeUnavailable
from bnfold.runtime import CPU, installed_providers, provider_name


def matchups(before: Subject, after: Subject, settings: Settings) -> tuple[tuple[Matchup, ...], tuple[str, ...]]:
    """The matchups that were asked for, each possible, and remarks on the providers that were left out.

    Raises:
        UsageError: onnxruntime knows no such provider.
        RuntimeUnavailable: The one provider that was asked for can not run a model, or onnxruntime is not installed.
        ModelError: A model can not be loaded on it.
    """
    if settings.provider.lower() != ALL:
        name = provider_name(settings.provider)
        before.session(name)
        after.session(name)
        return _with_optimized([Matchup(name, name)], settings), ()
    usable, remarks = _usable(before, after)
    across = [Matchup(CPU, name) for name in usable if name != CPU]
    return _with_optimized([*(Matchup(name, name) for name in usable), *across], settings), remarks


def _usable(before: Subject, after: Subject) -> tuple[list[str], tuple[str, ...]]:
    """The providers of this onnxruntime that run both models, and why the others do not."""
    usable, remarks = [], []
    for name in installed_providers():
        try:
            before.session(name)
            after.session(name)
        except (RuntimeUnavailable, ModelError) as error:
            if name == CPU:
                raise
            remarks.append(f"{name} is left out: it {str(error).removeprefix(f'{name} ')}")
        else:
            usable.append(name)
    return usable, tuple(remarks)


def _with_optimized(plain: list[Matchup], settings: Settings) -> tuple[Matchup, ...]:
    """Each matchup with onnxruntime's own rewriting off, and on as well where that was asked for."""
    optimized = [Matchup(found.before, found.after, optimized=True) for found in plain] if settings.optimized else []
    return (*plain, *optimized)
