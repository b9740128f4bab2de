"""Readers of public data sets: samples as dataclasses, no batches."""
