"""Every result in every format that it names, and no second place where formats are made."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import pytest

import audiogen_metrics
from audiogen_metrics import compare, correlate, find_copies, score, score_systems
from audiogen_metrics.datasets.checking import check
from audiogen_metrics.datasets.folder import open_dataset
from audiogen_metrics.errors import UsageError
from audiogen_metrics.evaluation.protocol_sweep import compare_protocols
from audiogen_metrics.rendering import FORMATS, Facts, Renderable, render
from audiogen_metrics.selftest import selftest
from audiogen_metrics.studies import sanity
from tests.conftest import EXAMPLES

GEN, REF = EXAMPLES / "generated", EXAMPLES / "reference"
YAMNET: dict[str, Any] = {"protocol": "yamnet", "limit": 10}

PACKAGE = Path(audiogen_metrics.__file__).parent


def agreement() -> Renderable:
    with TemporaryDirectory() as folder:
        scores, ratings = Path(folder, "scores.csv"), Path(folder, "ratings.csv")
        scores.write_text("system,fd,pq\na,30,2\nb,20,3\nc,25,1\nd,10,4\ne,12,5\n", encoding="utf-8")
        ratings.write_text("system,rating\na,2\nb,3\nc,2.5\nd,4.5\ne,4\n", encoding="utf-8")
        return correlate(scores, ratings)


MAKERS: Mapping[str, Callable[[], Renderable]] = {
    "ScoreReport": lambda: score(GEN, REF, **YAMNET),
    "Ranking": lambda: score_systems({"a": GEN, "b": REF}, REF, permutations=19, **YAMNET),
    "Comparison": lambda: compare(GEN, GEN, REF, protocol="yamnet", metrics="kl", permutations=19),
    "ProtocolComparison": lambda: compare_protocols(GEN, REF, base="yamnet"),
    "Copies": lambda: find_copies(GEN, REF, embedding=False, limit=10),
    "Agreement": agreement,
    "Study": lambda: sanity(REF, probes=["identity"], metrics="fd", fractions=(0, 1), repeats=1, **YAMNET),
    "Selftest": selftest,
    "Check": lambda: check(open_dataset(GEN)),
    "Facts": lambda: Facts({"name": "dög"}, "dög"),
}
"""How a small real one of each result is made."""

OPTIONS: Mapping[str, dict[str, str]] = {
    "eval-results": {"dataset_id": "owner/name"},
    "model-index": {"model_name": "model", "task_type": "text-to-audio", "dataset_id": "owner/name"},
}
"""What a format needs that the result does not know."""

made = cache(lambda kind: MAKERS[kind]())
"""Each result once, for all of its formats."""


def test_each_result_is_made_here() -> None:
    assert MAKERS.keys() == FORMATS.keys()


def _refuse(word: str) -> NoReturn:
    raise AssertionError(f"{word} is not JSON")


def _is_json(text: str, found: Renderable) -> bool:
    return list(json.loads(text, parse_constant=_refuse)) == list(found.to_dict())


def _is_csv(text: str, _: Renderable) -> bool:
    header, *rows = csv.reader(io.StringIO(text))
    return bool(rows) and {len(row) for row in rows} == {len(header)}


SIGNS: Mapping[str, Callable[[str, Renderable], bool]] = {
    "table": lambda text, found: text == f"{found}\n" and "object at" not in text and not text.endswith("\n\n"),
    "text": lambda text, found: text == f"{found}\n",
    "json": _is_json,
    "csv": _is_csv,
    "markdown": lambda text, _: bool(re.search(r"^\|( ?---+ ?\|)+$", text, re.M)),
    "latex": lambda text, _: text.count("\\begin{tabular}") == text.count("\\end{tabular}") > 0,
    "eval-results": lambda text, _: text.startswith("- dataset:"),
    "model-index": lambda text, _: "model-index:" in text,
    "html": lambda text, _: text.startswith("<!doctype html>") and text.count("<h1>") == 1,
}
"""What tells a format, by its name."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "form"), [(kind, form) for kind, forms in FORMATS.items() for form in forms if form in SIGNS]
)
def test_every_result_renders_in_every_format_it_names(kind: str, form: str, tmp_path: Path) -> None:
    found = made(kind)
    assert type(found).__name__ == kind
    text = render(found, form, **OPTIONS.get(form, {}))
    assert text.endswith("\n")
    assert SIGNS[form](text, found)
    if form not in ("table", "text"):
        write: Callable[..., str] = getattr(found, f"to_{form.replace('-', '_')}")
        assert write(path=tmp_path / "file", **OPTIONS.get(form, {})) == text
        assert (tmp_path / "file").read_text(encoding="utf-8") == text


def test_av_benchmarks_format_is_refused_for_other_protocols() -> None:
    assert {form for forms in FORMATS.values() for form in forms} - SIGNS.keys() == {"av-benchmark"}
    with pytest.raises(UsageError, match="is not av-benchmark's recipe"):
        render(made("ScoreReport"), "av-benchmark")


@pytest.mark.slow
def test_json_has_one_writer_which_is_strict() -> None:
    for kind in FORMATS:
        assert type(made(kind)).to_json is Renderable.to_json
    with pytest.raises(ValueError, match="not JSON compliant"):
        render(Facts({"fd": float("nan")}, ""), "json")


def test_a_format_that_a_result_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown format 'markdwon'"):
        render(made("Agreement"), "markdwon")
    with pytest.raises(UsageError, match="unknown format 'csv'"):
        render(Facts({}, ""), "csv")


def _literals(tree: ast.Module) -> list[set[object]]:
    """Return the constants of each list, tuple, set and dict that is written out in a module."""
    found = []
    for node in ast.walk(tree):
        parts = [*node.keys, *node.values] if isinstance(node, ast.Dict) else getattr(node, "elts", [])
        found.append({part.value for part in parts if isinstance(part, ast.Constant)})
    return found


def _writes_pretty_json(tree: ast.Module) -> bool:
    words = [word for node in ast.walk(tree) if isinstance(node, ast.Call) for word in node.keywords]
    return any(word.arg == "indent" and ast.unparse(word.value) == "2" for word in words)


def test_formats_pages_and_json_have_one_home_each() -> None:
    homes: dict[str, set[str]] = {"formats": set(), "pages": set(), "JSON": set()}
    for path in PACKAGE.rglob("*.py"):
        name, text = path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        if any("json" in literal and literal & {"table", "text", "markdown"} for literal in _literals(tree)):
            homes["formats"].add(name)
        if "<html" in text:
            homes["pages"].add(name)
        if _writes_pretty_json(tree):
            homes["JSON"].add(name)
    assert homes == {"formats": {"rendering.py"}, "pages": {"report/document.py"}, "JSON": {"writing.py"}}
