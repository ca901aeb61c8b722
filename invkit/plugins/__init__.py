"""Hooks, and the registry of everything that a recipe can name; loading, listing and writing plugins.

Imports the packages below it, and no recipe; the only package that knows pluggy.
"""
