"""A function of a caller's own that yields batches: found by `module:function`, called once per epoch."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType

from bnfold.errors import BnfoldError, UsageError

_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")

_END = object()


def is_name(text: str) -> bool:
    """Whether this is a `module:function`; a path that exists is a path, whatever it looks like."""
    return _NAME.fullmatch(text) is not None and not os.path.exists(text)


def found(text: str) -> object:
    """What `module:function` names. The module is imported, which runs its code; the current folder is looked in first.

    Raises:
        UsageError: there is no such module or nothing of that name in it, or the import fails.
    """
    name, _, inner = text.partition(":")
    place: object = _module(name, text)
    for part in inner.split("."):
        if not hasattr(place, part):
            raise UsageError(f"'{text}' can not be found: '{part}' is not in {_words(place)}")
        place = getattr(place, part)
    return place


def epochs_of(function: Callable[..., object], name: str) -> Callable[[int], Iterator[object]]:
    """What calls a function for the batches of an epoch, and says where it raised.

    Args:
        function: takes nothing, or the number of the epoch, counted from 1, as `epoch`; gives an iterable.
        name: what to call it.

    Raises:
        UsageError: it takes something else.
    """
    named = {"epoch"} if _takes_epoch(function, name) else set()
    return lambda number: _batches(lambda: function(**dict.fromkeys(named, number)), name, number)


def guarded(epoch: Callable[[int], Iterable[object]], name: str) -> Callable[[int], Iterator[object]]:
    """The same batches, saying where the code that makes them raised."""
    return lambda number: _batches(lambda: epoch(number), name, number)


def _batches(call: Callable[[], object], name: str, number: int) -> Iterator[object]:
    with _telling(f"{name} raised when it was called for epoch {number}"):
        made = call()
        if not isinstance(made, Iterable):
            raise UsageError(f"{name} gave {type(made).__name__} for epoch {number}, and should yield batches")
        batches = iter(made)
    step = 1
    while True:
        with _telling(f"{name} raised in batch {step} of epoch {number}"):
            batch = next(batches, _END)
        if batch is _END:
            return
        yield batch
        step += 1


def _takes_epoch(function: Callable[..., object], name: str) -> bool:
    try:
        signature = inspect.signature(function)
    except ValueError:  # some of what is written in C tells nothing of itself
        return False
    for arguments, takes_epoch in (({"epoch": 1}, True), ({}, False)):
        try:
            signature.bind(**arguments)
        except TypeError:
            continue
        return takes_epoch
    raise UsageError(
        f"{name} takes {signature}, and is called with nothing, or with the number of the epoch as `epoch`"
    )


def _module(name: str, text: str) -> ModuleType:
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as `python -m` does; it stays, since the function may import when it is called
    with _telling(f"'{text}' can not be imported"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):  # one that the module imports
                raise
            raise UsageError(
                f"'{text}' is no file, and there is no module '{error.name}' in {folder} or among the installed ones"
            ) from error


def _words(place: object) -> str:
    if not isinstance(place, ModuleType):
        return f"{place!r}"
    public = sorted(name for name in vars(place) if not name.startswith("_"))
    return f"{place.__file__ or place.__name__}, which has {', '.join(public) or 'nothing'}"


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Turn whatever a caller's code raises into a sentence that says where it did.

    Raises:
        UsageError: it raised.
    """
    try:
        yield
    except BnfoldError:
        raise
    except Exception as error:  # the code is the caller's, and may raise anything
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"{what}: {text}{_place_of(error)}") from error


def _place_of(error: Exception) -> str:
    """The last line that is not Python's own machinery of imports, and not bnfold's."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen")
        and frame.filename != __file__
        and frame.filename != importlib.__file__
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
