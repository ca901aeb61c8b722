"""Degradations, forward operators and measurements, and exact inference for Gaussian fields.

Imports `core` only.
"""
