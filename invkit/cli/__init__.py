"""The command line: one module for each command; prints and exit codes only.

Imports no torch before a command needs it.
"""
