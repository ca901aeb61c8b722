"""Data sets: sources of images, decoding, resampling, and batches on the device.

Imports `core` and `physics`.
"""
