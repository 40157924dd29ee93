"""The command line: one file per command, imported when it is called, and nothing heavy before it runs.

Exit status: 0 done and equal; 1 a difference was found, or ``--strict`` and something stayed; 2 bad usage or a bad
model, with one clear sentence; 3 a fault of bnfold's own. Results go to stdout, remarks and progress to stderr.
"""

from bnfold.cli.main import app, main, program

__all__ = ["app", "main", "program"]
