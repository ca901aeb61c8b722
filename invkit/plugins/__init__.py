"""Hook specifications, and the registry of implementations; loading, listing and creating plugins.

The only package that imports pluggy; it does not import `invkit.recipe`.
"""
