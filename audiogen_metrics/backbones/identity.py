"""Hash everything that shapes the output of a user's function or module: weights, attributes, code."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import logging
import operator
import re
import sys
import sysconfig
import types
import uuid
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import nn

from audiogen_metrics.errors import UsageError

_PLAIN = (
    *(type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented), enum.Enum, PurePath),
    *(decimal.Decimal, fractions.Fraction, datetime.date, datetime.time, datetime.timedelta, uuid.UUID),
    *(operator.itemgetter, operator.attrgetter, operator.methodcaller, types.GenericAlias, types.UnionType),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format, np.generic, np.dtype),
)
"""Types whose ``repr`` tells everything."""

_NAMED = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MemberDescriptorType,
    types.GetSetDescriptorType,
    types.ClassMethodDescriptorType,
    np.ufunc,
    logging.Logger,
)
"""Compiled functions, and types that do not shape a number: hashed by their names."""

_STANDARD = tuple(str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib"))
_PACKAGE = __name__.partition(".")[0]
_OWN = str(Path(__file__).resolve().parents[1])


def identity_of(function: object, version: str | None, where: str) -> str:
    """Return a SHA-256 over everything visible that shapes the output of a function or module.

    It covers parameters and buffers, plain attributes, hooks, and what functions enclose or take from their module's
    globals; without a version also their compiled code and that of the user's own helpers. Installed packages count by
    name and version; torch, numpy and the standard library by name. Of a TorchScript module only the weights are
    visible.

    Parameters
    ----------
    function
        A module, or another callable.
    version
        Stands for the code, and for whatever cannot be hashed.
    where
        Name for the error.

    Raises
    ------
    UsageError
        Without a version: the content of an object is not visible, as for an object of a compiled extension.
    """
    # Whoever runs these modules chooses their mode; a module in a list or a closure keeps its own.
    switched = {id(module) for module in function.modules()} if isinstance(function, nn.Module) else set()
    walk = _Walk(version is None, switched)
    try:
        walk.add(function, type(function).__name__)
    except _OpaqueError as error:
        raise UsageError(
            f"{error} cannot be hashed, so its versions could not be told apart",
            where=where,
            fix="Pass version='1', and raise it whenever that changes",
        ) from None
    return hashlib.sha256(f"{version}\n".encode() + walk.digest.digest()).hexdigest()


class _OpaqueError(Exception):
    """The place and type of an object that cannot be hashed."""


class _Walk:
    """A hash over an object and everything that it refers to, each part once."""

    def __init__(self, code: bool, switched: set[int]) -> None:
        self.code, self.switched = code, switched
        self.digest = hashlib.sha256()
        self._seen: dict[int, int] = {}
        self._kept: list[object] = []  # an id belongs to an object only while the object lives

    def add(self, value: Any, place: str) -> None:
        """Hash ``value``, which is at ``place``."""
        if isinstance(value, _PLAIN):
            self._note(f"{type(value).__qualname__} {value!r}")
            return
        self._note(f"{type(value).__module__}.{type(value).__qualname__}")
        # How a program was loaded decides whether its equal constants are one object.
        if not isinstance(value, tuple | frozenset | types.CodeType):
            if id(value) in self._seen:
                self._note(f"again {self._seen[id(value)]}")
                return
            self._seen[id(value)] = len(self._seen)
            self._kept.append(value)
        if isinstance(value, torch.Tensor | np.ndarray):
            self._add_array(value, place)
        elif isinstance(value, Mapping):
            self._add_items([(key, value[key]) for key in value], place)
        elif isinstance(value, list | tuple | deque | bytearray | range):
            self._add_sequence(value, place)
        elif isinstance(value, set | frozenset):
            self._add_sequence(sorted(value, key=repr), place)
        elif isinstance(value, slice):
            self._add_sequence([value.start, value.stop, value.step], place)
        elif isinstance(value, weakref.ref):
            self.add(value(), place)
        elif isinstance(value, re.Pattern):
            self._add_sequence([value.pattern, value.flags], place)
        elif isinstance(value, functools.partial):
            self._add_sequence([value.func, value.args, value.keywords], place)
        elif isinstance(value, types.MethodType):
            self._add_sequence([value.__self__, value.__func__], place)
        elif isinstance(value, types.FunctionType):
            self._add_function(value, place)
        elif isinstance(value, types.CodeType):
            self._add_code(value, place)
        elif isinstance(value, type):
            self._add_class(value, place)
        elif isinstance(value, types.ModuleType):
            self._note(f"{value.__name__} {_version(value.__name__)}")
        elif isinstance(value, _NAMED):
            self._note(getattr(value, "__qualname__", getattr(value, "__name__", "")))
            owner = getattr(value, "__self__", None)
            if not isinstance(owner, types.ModuleType):
                self.add(owner, place)
        elif isinstance(value, property | classmethod | staticmethod | functools.cached_property):
            self._add_sequence([getattr(value, name, None) for name in ("fget", "fset", "__func__", "func")], place)
        elif isinstance(value, nn.Module):
            self._add_module(value, place)
        elif _has_plain_state(value):
            self._add_object(value, place)
        elif hasattr(value, "__wrapped__"):  # what functools.lru_cache returns
            self.add(value.__wrapped__, place)
        else:
            self._give_up(value, place)

    def _give_up(self, value: object, place: str) -> None:
        if self.code:
            raise _OpaqueError(f"{place}, a {type(value).__qualname__},")

    def _note(self, text: str) -> None:
        content = text.encode("utf-8", "backslashreplace")
        self.digest.update(f"{len(content)} ".encode() + content)

    def _add_array(self, value: torch.Tensor | np.ndarray, place: str) -> None:
        self._note(f"{value.dtype} {tuple(value.shape)}")
        if isinstance(value, torch.Tensor):
            if value.is_meta or value.layout != torch.strided or value.is_quantized:
                self._give_up(value, place)
                return
            value = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        elif value.dtype.hasobject:
            self._add_sequence(value.ravel().tolist(), place)
            return
        self.digest.update(np.ascontiguousarray(value).tobytes())

    def _add_items(self, items: list[tuple[Any, Any]], place: str) -> None:
        self._note(f"{len(items)}")
        for key, value in items:
            self.add(key, place)
            self.add(value, f"{place}.{key}" if isinstance(key, str) else place)

    def _add_sequence(self, values: Any, place: str) -> None:
        self._note(f"{len(values)}")
        for index, value in enumerate(values):
            self.add(value, f"{place}[{index}]")

    def _add_module(self, value: nn.Module, place: str) -> None:
        """Hash a module by its class and attributes, which hold parameters, buffers, children and hooks."""
        if isinstance(value, torch.jit.ScriptModule | torch.fx.GraphModule):
            self._note(str(value.code))
            self._add_items([*value.state_dict().items(), *value.named_children()], place)
            if isinstance(value, torch.jit.ScriptModule):
                self._give_up(value, place)
            return
        if isinstance(getattr(value, "_orig_mod", None), nn.Module):  # what torch.compile has wrapped
            self.add(value._orig_mod, place)
            return
        # The key of a hook is a number that counts up in the process.
        state = {
            name: [*member.values()] if "_hooks" in name and isinstance(member, dict) else member
            for name, member in vars(value).items()
            if name != "training" or id(value) not in self.switched
        }
        self.add(type(value), place)
        self._add_items(sorted(state.items()), place)

    def _add_object(self, value: object, place: str) -> None:
        """Hash an instance by its class and its attributes."""
        state = dict(getattr(value, "__dict__", {}))
        state |= {name: getattr(value, name) for name in _slots(type(value)) if hasattr(value, name)}
        self.add(type(value), place)
        self._add_items(sorted(state.items()), place)

    def _add_class(self, value: type, place: str) -> None:
        self._note(f"{value.__module__}.{value.__qualname__}")
        if not self.code:
            return
        if _is_found_in(sys.modules.get(value.__module__), value):
            self._note(_version(value.__module__))
            return
        for base in value.__mro__[1:]:
            self.add(base, place)
        members = {name: member for name, member in vars(value).items() if name not in _ANY_CLASS}
        self._add_items(sorted(members.items()), f"{place}.{value.__qualname__}")

    def _add_function(self, value: types.FunctionType, place: str) -> None:
        self._note(f"{value.__module__}.{value.__qualname__}")
        # Its names do not say whose it is, since functools.wraps copies them.
        if _is_installed(value.__code__.co_filename) and value.__closure__ is None:
            self._note(f"{value.__code__.co_firstlineno} {_version(value.__globals__.get('__name__', ''))}")
            return
        self._add_sequence([value.__defaults__, value.__kwdefaults__, vars(value)], place)
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            try:
                self.add(cell.cell_contents, f"{place}.{name}")
            except ValueError:  # the name is not assigned yet
                self._note(name)
        if self.code:
            self.add(value.__code__, place)
            names = {name for code in _codes(value.__code__) for name in code.co_names}
            self._add_used(names, value.__globals__)

    def _add_used(self, names: set[str], members: Mapping[str, Any]) -> None:
        """Hash what a function takes from a module by name, and from the user's modules in it by attribute."""
        for name in sorted(names & members.keys()):
            found = members[name]
            known = id(found) in self._seen
            self._note(name)
            self.add(found, name)
            if isinstance(found, types.ModuleType) and not _is_installed(_file(found)) and not known:
                self._add_used(names, vars(found))

    def _add_code(self, value: types.CodeType, place: str) -> None:
        self.digest.update(value.co_code)
        self._add_sequence([value.co_names, value.co_varnames, value.co_freevars, value.co_consts], place)


_ANY_CLASS = frozenset(
    [
        *("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__firstlineno__", "_abc_impl"),
        *("__annotations__", "__annotate_func__", "__annotations_cache__", "__static_attributes__"),
        *("__parameters__", "__type_params__", "__orig_bases__", "__abstractmethods__"),
        *("__dataclass_fields__", "__dataclass_params__", "__match_args__"),
    ]
)
"""Members that every class has, which do not shape what it computes."""


def _has_plain_state(value: object) -> bool:
    """Tell whether all of an object's state is in attributes, and not in a base class of compiled code."""
    kind = type(value)
    has_attributes = hasattr(value, "__dict__") or bool(_slots(kind)) or kind is object
    return has_attributes and kind.__basicsize__ <= _plain_size(kind)


def _plain_size(kind: type) -> int:
    """Return the size of an object of a class that adds to ``object`` nothing but slots and a ``__dict__``."""
    pointers = 2 + sum(1 for _ in _slots(kind))
    return object.__basicsize__ + pointers * np.dtype(np.intp).itemsize


def _slots(kind: type) -> list[str]:
    found: list[str] = []
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        found += [slots] if isinstance(slots, str) else list(slots)
    return [name for name in found if name not in ("__dict__", "__weakref__")]


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield a function's code, and that of the functions and comprehensions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _is_found_in(module: types.ModuleType | None, value: type) -> bool:
    """Tell whether an installed module has this class under its name, so that it was not made while the program ran."""
    if module is None or not _is_installed(_file(module)):
        return False
    found: Any = module
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value


def _is_installed(file: str) -> bool:
    """Tell whether code comes with Python or an installed package, which name and version identify."""
    if not file or file.startswith("<frozen "):
        return True
    if file.startswith("<"):  # typed in, or given to exec
        return False
    path = Path(file).resolve()
    return bool({"site-packages", "dist-packages"} & {*path.parts}) or str(path).startswith((*_STANDARD, _OWN))


def _file(module: types.ModuleType) -> str:
    """Return the file of a module; ``<stdin>`` for code that was typed in, an empty text for modules inside Python."""
    return getattr(module, "__file__", None) or ("<stdin>" if module.__name__ == "__main__" else "")


@functools.cache
def _version(module: str) -> str:
    """Return the version of a module's package; an empty text for torch, numpy and Python's own."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top in ("torch", "numpy", _PACKAGE):
        return ""
    found = getattr(sys.modules.get(top), "__version__", None)
    try:
        return str(found or metadata.version(top))
    except metadata.PackageNotFoundError:
        return ""
