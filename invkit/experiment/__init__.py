"""Experiments: from a recipe to a run folder, by training, evaluation and report; and inference on user files.

It may import every package but `cli`; only `cli` and `invkit/__init__.py` import it.
"""
