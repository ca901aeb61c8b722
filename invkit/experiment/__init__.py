"""A recipe becomes a run folder: train, evaluate, report, resume, reconstruct.

Imports every package below it; only `cli` and the functions of `invkit` import this one.
"""
