"""``python -m bnfold``, and the command ``bnfold``."""

import gc
import signal

gc.disable()  # imports leave nothing to collect; `program` enables it
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is something to clean up: no traceback out of an import

from bnfold.cli import program  # noqa: E402 (what comes first is for the time of this import)

__all__ = ["program"]

if __name__ == "__main__":
    program()
