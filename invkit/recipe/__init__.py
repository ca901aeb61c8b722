"""Recipes: YAML files read, overridden, resolved through the registry and frozen; their JSON schema.

Imports the packages below it and the registry. `recipe.read` imports no torch.
"""
