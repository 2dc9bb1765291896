"""The API page has every public name once, and each command and its Python call name each other."""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import audiogen_metrics
from audiogen_metrics.cli.main import build_parser
from audiogen_metrics.objects import AudioMetric
from tests.test_docs import PAGES, PYTHON, ROOT, blocks, name_of, parsers

PACKAGE = ROOT / "audiogen_metrics"
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def modules() -> Iterator[str]:
    """Yield the names of all modules but the one that runs the program."""
    yield "audiogen_metrics"
    for module in pkgutil.walk_packages(audiogen_metrics.__path__, "audiogen_metrics."):
        if not module.name.endswith("__main__"):
            yield module.name


@cache
def public_names() -> frozenset[str]:
    """Return the full address of every name of every ``__all__``."""
    return frozenset(
        f"{module}.{name}" for module in modules() for name in getattr(importlib.import_module(module), "__all__", ())
    )


def value_of(address: str) -> Any:
    module, _, name = address.rpartition(".")
    return getattr(importlib.import_module(module), name)


def home_of(address: str) -> str:
    """Return where a class or function is written: the same for all modules that have it."""
    value = value_of(address)
    written = inspect.isclass(value) or inspect.isroutine(value)
    return f"{value.__module__}.{value.__qualname__}" if written else address


def documented() -> Iterator[str]:
    """Yield the addresses on the page, those of a module with all its members too."""
    for kind, address in re.findall(r"^\.\. auto(\w+):: (\S+)$", PAGE, re.MULTILINE):
        if kind == "module":
            yield from (f"{address}.{name}" for name in importlib.import_module(address).__all__)
        else:
            yield address


def test_the_page_has_every_public_name_once() -> None:
    homes = Counter(home_of(address) for address in documented())
    public = {home_of(address) for address in public_names()}
    assert {home for home, count in homes.items() if count > 1} == set()
    assert public - homes.keys() == set(), "not on the page"
    assert homes.keys() - public == set(), "in no __all__"
    assert len(public) > 200


def test_addresses_on_the_page_are_public() -> None:
    assert set(documented()) <= public_names()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_pages_import_public_names_only(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8"), "python", "text", ""):
        for module, names in re.findall(r"^\s*from (audiogen_metrics\S*) import ([\w, ]+)", block, re.MULTILINE):
            for name in re.split(r",\s*", names.strip()):
                address = f"{module}.{name}"
                value = value_of(address)
                assert address in public_names() or (inspect.isclass(value) and issubclass(value, AudioMetric)), address


def test_every_command_has_its_line_in_the_table() -> None:
    groups = argparse._SubParsersAction
    leaves = [each for each in parsers(build_parser()) if not any(isinstance(it, groups) for it in each._actions)]
    assert [parser.prog.removeprefix("agm ") for parser in leaves] == [*PYTHON]


def test_python_calls_of_commands_are_on_the_page() -> None:
    names = {f"audiogen_metrics.{name}" for calls in PYTHON.values() for name in calls}
    assert names - set(documented()) == set()


@pytest.mark.parametrize("path", [*sorted(PACKAGE.rglob("*.py")), *PAGES], ids=name_of)
def test_addresses_in_sentences_exist(path: Path) -> None:
    for address in set(re.findall(r"`(audiogen_metrics(?:\.\w+)+)", path.read_text(encoding="utf-8"))):
        pkgutil.resolve_name(address)
