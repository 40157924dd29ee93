"""Models changed at random, in bytes and in structure, for the file reader and for `fold`: `python tests/fuzz/run.py`.

`seeds.py` makes the corpus, `mutate.py` changes a model, `reader.py` and `folding.py` judge what comes of it, and
`run.py` does that as often as is asked for, with atheris, which looks for what reaches new code, or without.
"""
