"""Named things that are loaded when first used."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from audiogen_metrics.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["Registry"]

T = TypeVar("T")


def unknown_name(kind: str, name: str, known: list[str]) -> UsageError:
    """Return the error for a name that is not known, with the nearest known ones."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return UsageError(f"unknown {kind} {name!r}", fix=f"{hint}Known: {', '.join(known)}")


class Registry(Generic[T]):
    """Map names to objects, importing the code behind a name only when it is asked for.

    Parameters
    ----------
    kind
        What the registry holds, for messages: ``"backbone"``.
    entry_point_group
        Group under which other packages announce their own; read once, when a name is first looked up.
        A broken package breaks its own name only.
    check
        Takes a name and what another package announces under it, and returns what is wrong with that, or None.

    Examples
    --------
    >>> registry = Registry[type]("shape")
    >>> registry.add("path", "pathlib:PurePosixPath")
    >>> registry.get("path").__name__
    'PurePosixPath'
    >>> registry.get("pth")
    Traceback (most recent call last):
    audiogen_metrics.errors.UsageError: unknown shape 'pth'. Did you mean 'path'? Known: path
    """

    def __init__(
        self, kind: str, entry_point_group: str | None = None, check: Callable[[str, Any], str | None] | None = None
    ) -> None:
        self._kind = kind
        self._group, self._check = entry_point_group, check
        self._loaders: dict[str, Callable[[], T]] = {}
        self._families: dict[str, str] = {}
        self.faults: dict[str, str] = {}
        """By name, what is wrong with how other packages announce it; filled when names are first looked up."""

    def add(self, name: str, target: T | str) -> None:
        """Register ``target``, an object or its ``"module:attribute"`` address.

        Raises
        ------
        UsageError
            The name is taken: a second meaning for one name would make scores ambiguous.
        """
        if name in self._loaders:
            raise UsageError(f"{self._kind} {name!r} is registered already", fix="Choose another name")
        self._loaders[name] = (lambda: self._load(target)) if isinstance(target, str) else (lambda: target)

    def add_family(self, prefix: str, address: str) -> None:
        """Have all names that begin with ``prefix`` made by a function, given as ``"module:attribute"``."""
        self._families[prefix] = address

    def get(self, name: str) -> T:
        """Return the object called ``name``."""
        for prefix, address in self._families.items():
            if name.startswith(prefix):
                return cast("Callable[[str], T]", self._load(address))(name)
        if name not in self._loaders:
            self._discover()
        if name not in self._loaders:
            families = [f"{prefix}…" for prefix in self._families]
            raise unknown_name(self._kind, name, [*self.names(), *families])
        return self._loaders[name]()

    def names(self) -> list[str]:
        """Return all names, sorted."""
        self._discover()
        return sorted(self._loaders)

    def _load(self, address: str) -> T:
        module, _, attribute = address.partition(":")
        return cast("T", getattr(importlib.import_module(module), attribute))

    def _load_plugin(self, entry: EntryPoint) -> T:
        try:
            found = entry.load()
            problem = None if self._check is None else self._check(entry.name, found)
            if problem is not None:
                raise TypeError(problem)
            return cast("T", found)
        except Exception as error:  # whatever the code of another package does
            raise MissingDependencyError(
                f"the {self._kind} of an installed package cannot be loaded ({type(error).__name__}: {error})",
                where=f"{entry.name} = {entry.value}",
                fix="Mend or uninstall that package",
            ) from error

    def _discover(self) -> None:
        if self._group is None:
            return
        # importlib.metadata costs 30 ms, which `import audiogen_metrics` need not pay.
        from importlib.metadata import entry_points

        found = entry_points(group=self._group)
        self._group = None
        for entry in found:
            if entry.name in self._loaders:
                self.faults[entry.name] = (
                    f"{entry.value} of an installed package announces the same name; it is not used"
                )
            else:
                self._loaders[entry.name] = partial(self._load_plugin, entry)
