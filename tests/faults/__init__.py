"""What is done to bnfold while it writes: killed, ended, starved. What it leaves is compared byte by byte."""
