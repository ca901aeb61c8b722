"""What every package stands on: grids, keyed random numbers, settings, errors, files, devices and processes.

Imports nothing else of invkit, and neither torch.nn, YAML nor pluggy.
"""
