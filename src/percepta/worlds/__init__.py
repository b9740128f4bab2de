"""Synthetic worlds that several systems learn from and are shown on; a system sees them through its world.py."""
