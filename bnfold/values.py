"""Small objects that a fold makes by the hundred thousand: what they are for the reader, without what they cost.

Type checkers take `frozen` for a frozen dataclass and `cached_property` for that of functools. When the program runs,
attributes are set as on any object: a frozen dataclass takes three times as long to make, and the cached property of
Python 3.11 takes a lock whenever a value is computed.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, dataclass_transform

if TYPE_CHECKING or sys.version_info >= (3, 12):
    from functools import cached_property as cached_property
else:

    class cached_property:
        """A property that is computed once and then an attribute of the object."""

        def __init__(self, compute):  # noqa: ANN001, ANN204 (typed as functools.cached_property, above)
            self.compute, self.__doc__ = compute, compute.__doc__

        def __set_name__(self, owner, name):  # noqa: ANN001, ANN204
            self.name = name

        def __get__(self, instance, owner=None):  # noqa: ANN001, ANN204
            if instance is None:
                return self
            found = instance.__dict__[self.name] = self.compute(instance)
            return found


T = TypeVar("T")


@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """A dataclass whose objects are not to be changed, and are equal only to themselves."""
    return dataclass(eq=False)(cls)
