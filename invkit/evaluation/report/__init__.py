"""The report of an evaluation as one HTML page, with plots and sheets of images. Imports the same packages as `evaluation`."""
