"""Sphinx configuration."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "audiogen-metrics"
author = "The audiogen-metrics developers"
project_copyright = "2026, the audiogen-metrics developers. MIT licence"
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
    "sphinx_copybutton",
    "generated",
    "mathml",
]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 2
exclude_patterns = ["_build", "_generated"]
templates_path: list[str] = []

html_theme = "furo"
html_title = "audiogen-metrics"
html_theme_options = {"navigation_with_keys": True}

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc sections name the types that matter
autodoc_class_signature = "separated"
napoleon_google_docstring = False
napoleon_use_rtype = False
default_role = "code"
