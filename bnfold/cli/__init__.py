"""The command line: one file per command, and nothing heavy imported before a command runs.

Exit status: 0 done and equal; 1 a difference was found, or ``--strict`` and something stayed; 2 bad usage or a bad
model, with one clear sentence; 3 a fault of bnfold's own. Results go to stdout, remarks and progress to stderr.
"""

from bnfold.cli import calibrate, check, fold, insert, inspect, train
from bnfold.cli.main import app, main

for command in (fold.fold, check.check, inspect.inspect, insert.insert, calibrate.calibrate, train.train):
    app.command()(command)

__all__ = ["app", "main"]
