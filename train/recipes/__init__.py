"""The papers' published results as rows: each with its flag file, or with what stands in the place of one.

A row's facts are the comments at the beginning of its flag file; the rows without one are in `elsewhere.csv`.
So there is one place for each number, and a flag file can be read alone.
"""
