"""The evaluation: methods on test images under one protocol, scored, tabulated with intervals, and reported.

Imports `core`, `physics`, `data`, `diffusion` and `reconstructors`; independent of training and recipes.
"""
