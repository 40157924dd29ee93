"""``python -m bnfold``."""

from bnfold.cli import program

if __name__ == "__main__":
    program()
