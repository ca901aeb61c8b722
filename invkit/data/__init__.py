"""Data sets: where images come from, how they are decoded and resampled, and batches of them on the device.

Imports `core` and `physics`.
"""
