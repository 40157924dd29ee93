"""What a fold comes to for a thousand models, as text: what goes, what stays and why, names, costs, questions asked.

The numbers are not in it: that they are right is what all other tests look at. A fold that decides otherwise, calls a
constant otherwise or asks an operator more often than before is seen here, and may be meant.

    PYTHONPATH=tests python -m outcomes      # write the text anew; the difference says what changed
"""
