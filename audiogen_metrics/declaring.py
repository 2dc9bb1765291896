"""How an option is declared once: default, range, meaning and flag, from which signatures, help and docstrings follow.

A family of options is a typed dict whose fields say all of it::

    @declared
    class Decoding(TypedDict, total=False):
        workers: Annotated["int | None", Option(None, "Decoding threads.", least=0)]

    @takes(Decoding)
    def read(folder: str, **options: Unpack[Decoding]) -> None:
        given = Decoding(**options)

Type checkers read the types, `inspect.signature` and `help` show what `takes` writes, `Decoding(**options)` returns
every option, and `audiogen_metrics.cli.flags` makes flags of them.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from textwrap import fill, indent
from typing import Any, TypeVar, cast, dataclass_transform, get_args

from audiogen_metrics.errors import UsageError
from audiogen_metrics.options import number, whole

F = TypeVar("F", bound=Callable[..., Any])
K = TypeVar("K", bound=type)
T = TypeVar("T")

_SECTION = re.compile(r"^(?=[A-Z]\w+\n-{3,}$)", re.MULTILINE)


@dataclass(frozen=True)
class Option:
    """What there is to say of an option.

    Parameters
    ----------
    default
        Its value where it is not given.
    meaning
        For docstrings, in whole sentences, and for the help of its flag.
    help
        For the help of its flag, where that says something else.
    unset
        What None stands for.
    least, most
        Its least and greatest value; ``most`` of infinity allows infinity, None does not.
    choices
        Its values, where only these are allowed.
    flag
        On the command line; None for its name with dashes, with ``no-`` in front if it turns something off. An empty
        text if it has none.
    metavar
        What help shows for its value.
    repeated
        Whether the flag may be given several times.
    type
        As it is written in the declaration.
    """

    default: Any = None
    meaning: str = ""
    help: str = ""
    unset: str = ""
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    flag: str | None = None
    metavar: str | None = None
    repeated: bool = False
    type: str = ""

    def documented(self, name: str) -> str:
        """Return its entry of a docstring's parameters."""
        text = f"{self.meaning} None takes {self.unset}." if self.unset else self.meaning
        return f"{name}\n{indent(fill(text, 108, break_long_words=False, break_on_hyphens=False), '    ')}"

    def checked(self, name: str, value: Any) -> Any:
        """Return a value that was given; UsageError for one that is not allowed."""
        if self.choices and value not in self.choices:
            *first, last = self.choices
            raise UsageError(f"unknown {name} {value!r}", fix=f"Use {', '.join(first)} or {last}")
        if self.least is None or (value is None and self.default is None):
            return value
        if self.type.startswith("float"):
            return number(name, value, self.least, math.inf if self.most is None else self.most)
        return whole(name, value, int(self.least), None if self.most is None else int(self.most))


@dataclass(frozen=True)
class But:
    """What is different about an option that is declared elsewhere: ``Annotated[Limit, But(meaning="…")]``."""

    default: Any = ...
    meaning: Any = ...
    help: Any = ...
    unset: Any = ...
    flag: Any = ...

    def of(self, option: Option) -> Option:
        """Return the option with these differences."""
        return replace(option, **{name: value for name, value in vars(self).items() if value is not ...})


class Family:
    """A typed dict of options, as `declared` leaves it: a call returns every option, checked."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.options = {name: _option(annotation) for name, annotation in kind.__annotations__.items()}
        self.__name__, self.__module__, self.__qualname__ = kind.__name__, kind.__module__, kind.__qualname__
        self.__doc__ = with_parameters(kind.__doc__, self.options)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        """Let families be made of families."""
        return (self.kind,)

    def __call__(self, **given: Any) -> dict[str, Any]:
        """Return all options, those that were not given with their defaults."""
        require_known(given, self.options)
        return {
            name: option.checked(name, given[name]) if name in given else option.default
            for name, option in self.options.items()
        }


@dataclass_transform(kw_only_default=True)  # for jedi, which completes names through it
def declared(kind: T) -> T:
    """Make a family of options of a typed dict."""
    return cast("T", Family(kind))


def options_of(family: Any) -> Mapping[str, Option]:
    """Return the options of a family, or of a dataclass whose fields declare them, by name."""
    return options_of_fields(family) if is_dataclass(family) else cast("Family", family).options


def part_of(family: Callable[..., T], given: Mapping[str, Any]) -> T:
    """Return those of the options given that a family or dataclass has, and its defaults for others."""
    return family(**{name: given[name] for name in options_of(family) if name in given})


def takes(family: Any) -> Callable[[F], F]:
    """Give a function with ``**options`` the signature and the docstring that the options of a family make."""

    def with_options(function: F) -> F:
        signature = inspect.signature(function)
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=option.type)
            for name, option in options_of(family).items()
        ]
        function.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
        function.__doc__ = with_parameters(function.__doc__, options_of(family))
        return function

    return with_options


def with_parameters(docstring: str | None, options: Mapping[str, Option]) -> str | None:
    """Return a docstring with options at the end of its parameters."""
    if docstring is None:  # python -OO
        return None
    entries = "\n".join(option.documented(name) for name, option in options.items())
    summary, *sections = _SECTION.split(inspect.cleandoc(docstring))
    if sections and sections[0].startswith("Parameters\n"):
        sections[0] = f"{sections[0].rstrip()}\n{entries}"
    else:
        sections.insert(0, f"Parameters\n----------\n{entries}")
    return "\n\n".join(part.rstrip() for part in (summary, *sections)) + "\n"


def setting(default: Any, meaning: str, metavar: str | None = None, **more: Any) -> Any:
    """Declare a field of a dataclass, by the arguments of `Option`; a type as default makes each object its own."""
    if isinstance(default, type):
        return field(default_factory=default, metadata={"option": Option(None, meaning, metavar=metavar, **more)})
    return field(default=default, metadata={"option": Option(default, meaning, metavar=metavar, **more)})


def like(family: Any, name: str, **other: Any) -> Any:
    """Declare a field of a dataclass like an option that a family or another dataclass has, but for what differs."""
    option = replace(options_of(family)[name], **other)
    return field(default=option.default, metadata={"option": option})


def required(meaning: str, metavar: str) -> dict[str, Option]:
    """Return the metadata of a field that must be given."""
    return {"option": Option(None, meaning, metavar=metavar)}


def options_of_fields(kind: Any) -> dict[str, Option]:
    """Return the options that the fields of a dataclass declare in their metadata, under ``option``."""
    return {each.name: replace(each.metadata["option"], type=str(each.type)) for each in fields(kind)}


def documented(kind: K) -> K:
    """Give a dataclass the docstring that its fields make."""
    kind.__doc__ = with_parameters(kind.__doc__, options_of_fields(kind))
    return kind


def require_known(given: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError, as Python does, for an unknown option."""
    names = [*known]
    for name in given:
        if name not in names:
            near = "".join(f". Did you mean {each!r}?" for each in get_close_matches(name, names, n=1))
            raise TypeError(f"got an unexpected keyword argument {name!r}{near}")


def _option(annotation: Any) -> Option:
    written, option, *others = get_args(annotation)
    for other in others:
        option = other.of(option)
    return cast("Option", replace(option, type=written.__forward_arg__))
