"""Lazy, typed, refuses duplicates, suggests the near name."""

from __future__ import annotations

import pickle
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from audiogen_metrics import errors
from audiogen_metrics.errors import AudiogenMetricsError, MissingDependencyError, UsageError
from audiogen_metrics.registry import Registry


def announce(monkeypatch: pytest.MonkeyPatch, *entries: tuple[str, str]) -> None:
    points = EntryPoints(EntryPoint(name, value, "test.group") for name, value in entries)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points.select(group=group))


def test_loads_on_use_only() -> None:
    registry = Registry[object]("thing")
    registry.add("broken", "no_such_module:thing")
    registry.add("whole", "fractions:Fraction")
    assert registry.names() == ["broken", "whole"]
    assert registry.get("whole").__name__ == "Fraction"  # type: ignore[attr-defined]
    with pytest.raises(ModuleNotFoundError):
        registry.get("broken")


def test_refuses_duplicates_and_suggests() -> None:
    registry = Registry[int]("number")
    registry.add("seven", 7)
    with pytest.raises(UsageError, match="'seven' is registered already"):
        registry.add("seven", 8)
    with pytest.raises(UsageError, match="Did you mean 'seven'"):
        registry.get("sevn")
    assert registry.get("seven") == 7


def test_entry_points_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, ("fraction", "fractions:Fraction"))
    registry = Registry[object]("thing", entry_point_group="test.group")
    assert registry.names() == ["fraction"]
    assert registry.get("fraction").__name__ == "Fraction"  # type: ignore[attr-defined]


def test_entry_point_cannot_take_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, ("fraction", "fractions:Fraction"))
    registry = Registry[object]("thing", entry_point_group="test.group")
    registry.add("fraction", "decimal:Decimal")
    assert registry.names() == ["fraction"]
    assert registry.get("fraction").__name__ == "Decimal"  # type: ignore[attr-defined]
    assert "fractions:Fraction of an installed package announces the same name" in registry.faults["fraction"]


@pytest.mark.parametrize("value", ["no_such_module:thing", "fractions:nothing", "tests.broken_plugin:thing"])
def test_a_broken_package_breaks_its_own_name_only(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    announce(monkeypatch, ("broken", value), ("fraction", "fractions:Fraction"))
    registry = Registry[object]("thing", entry_point_group="test.group")
    assert registry.names() == ["broken", "fraction"]
    assert registry.get("fraction").__name__ == "Fraction"  # type: ignore[attr-defined]
    with pytest.raises(MissingDependencyError, match=f"broken = {value}: the thing of an installed package"):
        registry.get("broken")


@pytest.mark.parametrize("kind", [k for k in vars(errors).values() if isinstance(k, type)])
def test_errors_pickle_and_have_one_root(kind: type[AudiogenMetricsError]) -> None:
    if not issubclass(kind, AudiogenMetricsError):
        return
    error = kind("went wrong", "here.wav", "Do better")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "here.wav: went wrong. Do better"
    assert kind is AudiogenMetricsError or kind.exit_code in {2, 3, 4, 5, 6}
