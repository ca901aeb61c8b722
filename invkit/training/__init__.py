"""Training of a conditional model: problem, trainer, optimisers, checkpoints and validation.

Imports the packages below it; independent of YAML and plugins.
"""
