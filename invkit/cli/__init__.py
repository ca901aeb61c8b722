"""The command line, one module per command: arguments, output and exit codes only.

Torch is imported only by commands that need it.
"""
