"""Linear forward operators with adjoint and pseudo-inverse, one kind per module.

Imports `core` only; knows no degradations and no noise.
"""
