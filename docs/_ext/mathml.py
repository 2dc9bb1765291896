"""Formulas as MathML: every current browser draws it, and a page loads nothing from elsewhere."""

from __future__ import annotations

import html
import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

_BARS = re.compile(r"<(mo|mi)>(&#x02016;|&#x0007C;|\|)</\1>")


def mathml(source: str, display: str = "inline") -> str:
    """Return a formula as MathML.

    Bars outside ``\\left … \\right`` keep their size: browsers would stretch an opening one over the whole formula
    and leave its partner, the base of an exponent, as it is.
    """
    return _BARS.sub(r'<mo stretchy="false">\2</mo>', convert(source, display=display))


def visit_inline(self: Any, node: nodes.math) -> None:
    """Write an inline formula."""
    self.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def visit_block(self: Any, node: nodes.math_block) -> None:
    """Write a displayed formula, with its source for copying."""
    source = html.escape(node.astext(), quote=True)
    self.body.append(f'<div class="formula" tabindex="0" title="{source}">{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register as the renderer of formulas in HTML."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
