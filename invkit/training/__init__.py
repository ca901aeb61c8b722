"""The training of a conditional model: problem, trainer, optimisers, checkpoints and validation.

Imports the packages below it; knows no YAML and no plugins.
"""
