"""Sphinx configuration."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "audiogen-metrics"
author = "The audiogen-metrics developers"
project_copyright = "2026, the audiogen-metrics developers. MIT licence"
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
    "sphinx_copybutton",
    "gallery",
    "generated",
    "mathml",
    "notebooks",
]
myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
templates_path: list[str] = []

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = "audiogen-metrics"
html_theme_options = {"navigation_with_keys": True}
html_static_path = ["_static"]
html_css_files = ["formulas.css", "gallery.css"]
html_copy_source = False
html_show_sourcelink = False
copybutton_exclude = ".linenos, .gp, .go"  # of a console, the commands alone

# Types stand in the signatures, one parameter a line; the sections below say what the parameters mean.
toc_object_entries_show_parents = "hide"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_type_aliases = {name: name for name in ("Array", "Reference", "Waveforms")}
python_maximum_signature_line_length = 88
# Keeps "gen, ref" one entry.
napoleon_use_param = False
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_attr_annotations = False
default_role = "code"
smartquotes_action = "De"  # dashes and ellipses; quotes are often those of a shell

nitpicky = True
# Types in signatures that have no entry of their own.
nitpick_ignore = [
    ("py:class", "audiogen_metrics.embedding.given.GivenFeatures"),
    ("py:class", "audiogen_metrics.embedding.lanes.Alteration"),
    ("py:class", "audiogen_metrics.datasets.finding.Listings"),
    ("py:class", "audiogen_metrics.audioldm.snapshots.LocalCheckpoint"),
    ("py:class", "audiogen_metrics.audioldm.conditioning.Clap"),
    ("py:class", "audiogen_metrics.embedding.sides.FolderSide"),
    ("py:class", "audiogen_metrics.embedding.sides.StatisticsSide"),
    ("py:class", "audiogen_metrics.backbones.custom.CallableBackbone"),
]
nitpick_ignore_regex = [
    (r"py:.*", r"(?!audiogen_metrics\.).*"),  # no inventory of another project is loaded
    (r"py:class", r"audiogen_metrics\..*\.[A-Z]"),  # type variables
]


def plain_signature(_app: Sphinx, *details: object) -> tuple[str, object] | None:
    """Write ``...`` for defaults whose text is not Python and would spoil the signature, and names for type aliases."""
    *_, signature, returns = details
    if not isinstance(signature, str):
        return None
    return re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", signature.replace("<factory>", "...")), returns


def setup(app: Sphinx) -> None:
    """Register what is too small for an extension."""
    app.connect("autodoc-process-signature", plain_signature)
