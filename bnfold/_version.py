"""The version, read by the build backend and by `bnfold --version`."""

__version__ = "0.1.0"
