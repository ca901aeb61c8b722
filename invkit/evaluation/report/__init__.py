"""The report of an evaluation as one HTML page, with its plots and sheets of images. Imports what `evaluation` may."""
