"""A report to look at: one file that needs nothing else, made of the same results as the text and the JSON."""
