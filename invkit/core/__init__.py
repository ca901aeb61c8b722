"""Foundations used by every package: grids, keyed random numbers, settings, errors, files, devices and processes.

Imports no other package of invkit, and neither torch.nn, YAML nor pluggy.
"""
