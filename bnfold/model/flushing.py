"""Bringing a file to the disk while it is still being written, so that the last flush has little left to wait for."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

PAUSE = 0.02
"""Seconds between two flushes: a disk writes some ten megabytes in that time."""

_SYNC = getattr(os, "fdatasync", os.fsync)


@contextmanager
def flushing(file: BinaryIO) -> Iterator[None]:
    """Flush the file again and again in a thread while it is written to; leaving flushes what is left.

    Raises:
        OSError: the disk took something not. The system says so once, to whoever flushes first.
    """
    done, errors = threading.Event(), list[OSError]()

    def flush() -> None:
        try:
            while not done.wait(PAUSE):
                _SYNC(file.fileno())
        except ValueError:  # closed by who was interrupted while waiting for this
            return
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=flush)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if errors:
        raise errors[0]
    file.flush()
    os.fsync(file.fileno())
