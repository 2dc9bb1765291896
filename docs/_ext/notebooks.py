"""Tutorials as notebooks: each page is written as one into the built site, and offered at its head."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from sphinx.application import Sphinx

FOLDER = "tutorials"
INDEX = f"{FOLDER}/index"

PART = re.compile(
    r"^```(?P<language>[^\n]*)\n(?P<code>.*?)^```$|^!\[[^\n]*\]\(\.\./_static/tutorials/(?P<picture>\S+)\)$",
    re.MULTILINE | re.DOTALL,
)
"""A block between fences, or a picture that the commands of the page have drawn below build/."""


def notebook(text: str) -> NotebookNode:
    """Return a page as a notebook to run in the folder of a checkout; what its blocks print is left out."""
    cells = list(_cells(text))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # nbformat draws them, and equal pages shall make equal files
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.validate(made)
    return made


def _cells(text: str) -> Iterator[NotebookNode]:
    read = 0
    for part in PART.finditer(text):
        code = _code(part)
        if code is None and part["language"] != "output":
            continue  # a block to read, which stays among the words
        if words := text[read : part.start()].strip():
            yield new_markdown_cell(_links(words))
        if code is not None:
            yield new_code_cell(code)
        read = part.end()
    if words := text[read:].strip():
        yield new_markdown_cell(_links(words))


def _code(part: re.Match[str]) -> str | None:
    """Return what a notebook runs for a part of a page; None where there is nothing to run."""
    if part["picture"]:
        return f'from IPython.display import SVG\n\nSVG("build/{part["picture"]}")'
    if part["language"] == "console":
        return "\n".join(
            f"!{line}" for line in re.findall(r"^\$ (.*)", part["code"].replace("\\\n> ", ""), re.MULTILINE)
        )
    return str(part["code"]).strip() if part["language"] == "python" else None


def _links(words: str) -> str:
    """Return words whose links lead from the folder of a checkout to its pages."""
    beside = re.sub(r"\]\((?=\w+\.md)", f"](docs/{FOLDER}/", words)
    return re.sub(r"\]\(\.\./(?=[\w/-]+\.md)", "](docs/", beside)


def offer(_app: Sphinx, page: str, source: list[str]) -> None:
    """Link the notebook below the page's title."""
    if page.startswith(f"{FOLDER}/") and page != INDEX:
        title, _, rest = source[0].partition("\n")
        name = f"{Path(page).name}.ipynb"
        source[0] = f'{title}\n\n<p><a href="{name}" download>Download as a notebook</a></p>\n{rest}'


def write(app: Sphinx, error: Exception | None) -> None:
    """Write the notebooks beside the built pages."""
    if error is not None or app.builder.name != "html":
        return
    for page in sorted(app.env.found_docs):
        if page.startswith(f"{FOLDER}/") and page != INDEX:
            text = Path(app.env.doc2path(page)).read_text(encoding="utf-8")
            nbformat.write(notebook(text), Path(app.outdir, f"{page}.ipynb"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Offer the notebooks on the pages, and write them when the site is built."""
    app.connect("source-read", offer)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
