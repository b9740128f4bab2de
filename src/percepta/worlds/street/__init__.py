"""A synthetic street: a crossing of curved roads with lanes, zebra crossings, cars and people on foot.

`layout.py` makes the ground, `traffic.py` lets cars and people move on it. Everything follows from a seed.
"""
