"""Cameras, poses, planes and pictures of convex polygons: NumPy in double precision, torch where networks need it."""
