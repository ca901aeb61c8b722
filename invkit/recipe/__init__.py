"""Recipes: read YAML files, apply overrides, resolve names through the registry; the JSON schema of recipes.

`recipe.read` imports no torch.
"""
