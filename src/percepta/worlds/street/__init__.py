"""A synthetic street: a crossing of curved roads with lanes, zebra crossings, cars and people on foot.

`layout.py` makes the ground, `traffic.py` lets cars and people move on it, `scene.py` builds houses, trees, poles and
signs beside it and renders what a car's camera sees, `weather.py` paints light and weather. Everything follows from a
seed.
"""
