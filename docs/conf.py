"""Settings of the documentation site: `python -m sphinx -W -b html docs docs/_build/html`."""

import sys
from pathlib import Path

import invkit

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "invkit"
author = "the invkit authors"
copyright = author
release = version = invkit.__version__
extensions = ["sphinx.ext.autodoc", "myst_nb", "sphinx_design", "sphinx_copybutton", "pages"]
exclude_patterns = ["_build", "_ext", "**/.ipynb_checkpoints"]
nitpicky = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # tests/test_notebooks.py executes them

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "invkit"
html_static_path = ["_static"]
html_css_files = ["site.css"]  # tables scroll, figures have white paper also in the dark
html_show_sphinx = False
html_show_sourcelink = False
suppress_warnings = ["misc.highlighting_failure"]
