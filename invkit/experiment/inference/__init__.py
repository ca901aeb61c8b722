"""Inference on user files, the work of `invkit reconstruct`: inputs are prepared, measured, reconstructed and written.

It may import every package of `invkit` but `cli`; of `experiment` it uses only `trained_model`.
"""
