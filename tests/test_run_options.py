"""An option is declared once: signatures, docstrings, flags and their help follow from the declaration."""

from __future__ import annotations

import argparse
import importlib
import inspect
import math
import pkgutil
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Unpack

import pytest

import audiogen_metrics
from audiogen_metrics import AudioMetric, MetricSuite, run_options
from audiogen_metrics.audioldm.configuration import FineTuneConfig
from audiogen_metrics.audioldm.finetune_settings import FineTuneSettings
from audiogen_metrics.audioldm.model_options import ModelOptions
from audiogen_metrics.audioldm.sampling import Sampling
from audiogen_metrics.benchmark.settings import BenchSettings
from audiogen_metrics.cli.flags import arguments_of, dest_of, flag_of, help_of
from audiogen_metrics.cli.main import build_parser
from audiogen_metrics.declaring import Family, Option, options_of, options_of_fields, takes
from audiogen_metrics.embedding.lanes import ExtractionOptions
from audiogen_metrics.errors import UsageError, option, speaking_flags
from audiogen_metrics.options import bounds
from audiogen_metrics.run_options import (
    CompareOptions,
    EmbeddingOptions,
    RepetitionOptions,
    SelftestOptions,
    SystemOptions,
)

DECLARED: dict[str, list[Option]] = defaultdict(list)
"""Options by name, with what each family says of it."""
for _family in vars(run_options).values():
    for _name, _option in options_of(_family).items() if isinstance(_family, Family) else ():
        DECLARED[_name].append(_option)

EVERYWHERE = sorted(options_of(run_options.FolderOptions))
"""Options that mean the same wherever they are."""

OTHERS = {
    "batch_size": {"generate", "bench", "finetune"},  # candidates, or clips of a step of training
    "weights": {"generate", "finetune"},  # of what chooses candidates, of the evaluations
}
"""Commands whose flag of that name is another option."""


def functions() -> dict[str, Callable[..., Any]]:
    """Return the public functions of the package, and the methods of objects that take options of a run."""
    found: dict[str, Callable[..., Any]] = {}
    for module in pkgutil.walk_packages(audiogen_metrics.__path__, "audiogen_metrics."):
        if not module.name.endswith("__main__"):
            for name, each in vars(importlib.import_module(module.name)).items():
                if inspect.isfunction(each) and each.__module__ == module.name and not name.startswith("_"):
                    found[f"{module.name}.{name}"] = each
    return found | {"AudioMetric.score": AudioMetric.score, "MetricSuite.score": MetricSuite.score}


def own(function: Callable[..., Any]) -> set[str]:
    """Return the parameters that a function writes itself."""
    code = inspect.unwrap(function).__code__
    return {*code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]}


FUNCTIONS = functions()
TAKING = {name: each for name, each in FUNCTIONS.items() if hasattr(each, "__signature__")}


def flags() -> Iterator[tuple[str, argparse.Action]]:
    """Yield the flags of all commands."""

    def walk(parser: argparse.ArgumentParser, command: str) -> Iterator[tuple[str, argparse.Action]]:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, each in action.choices.items():
                    yield from walk(each, f"{command} {name}")
            else:
                yield command, action

    return walk(build_parser(), "agm")


FLAGS = [*flags()]


def test_the_functions_are_found() -> None:
    doors = {"score", "embed_folder", "reference_statistics", "compare", "compare_protocols", "sanity", "find_copies"}
    doors |= {"score_systems", "score_features", "clap_score", "verify", "verify_systems", "selftest"}
    assert {name.rpartition(".")[2] for name in TAKING} == doors


@pytest.mark.parametrize("name", TAKING)
def test_a_function_shows_and_documents_what_is_declared(name: str) -> None:
    parameters = inspect.signature(TAKING[name]).parameters
    documented = inspect.getdoc(TAKING[name]) or ""
    assert not [each for each in parameters.values() if each.kind is inspect.Parameter.VAR_KEYWORD]
    added = parameters.keys() - own(TAKING[name])
    assert added
    for parameter in added:
        shown = parameters[parameter].default, parameters[parameter].annotation
        (entry,) = re.findall(rf"^{parameter}\n(?:    .*\n?)+", documented, re.MULTILINE)
        said = [each.documented(parameter) for each in DECLARED[parameter] if (each.default, each.type) == shown]
        assert entry.rstrip() in said


def test_no_function_spells_them_again() -> None:
    spelled = {name: own(each) & {*EVERYWHERE} for name, each in FUNCTIONS.items()}
    again = {name.rpartition(".")[2] for name, names in spelled.items() if len(names) > 2}
    assert again == {"shared_runner"}  # a file, a batch and a device of one network


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_flag_says_the_same_in_every_command(name: str) -> None:
    said = {(flag_of(name, each), help_of(each)) for each in DECLARED[name] if flag_of(name, each)}
    called = {flag for flag, _ in said}
    commands = {
        command.removeprefix("agm ")
        for command, action in FLAGS
        for flag in called & {*action.option_strings}
        if (flag, action.help) not in said
    }
    assert commands == OTHERS.get(name, set())
    assert {flag for _, action in FLAGS for flag in action.option_strings} >= called


def test_flags_give_what_functions_take(tmp_path: Path) -> None:
    (tmp_path / "vggish.pth").touch()
    command = ["compare", "a", "b", "--no-cache", "--suffix", "wav"]
    parsed = build_parser().parse_args([*command, "--weights", f"vggish={tmp_path / 'vggish.pth'}"])
    given = arguments_of(parsed, CompareOptions)
    assert given.pop("weights") == {"vggish": tmp_path / "vggish.pth"}
    assert (given.pop("cache"), given.pop("suffixes")) == (False, ["wav"])
    assert {**CompareOptions(), **given} == CompareOptions()
    for flags, cache in (([], False), (["--cached"], True)):
        assert arguments_of(build_parser().parse_args(["verify", "r", *flags]), RepetitionOptions)["cache"] is cache


def test_settings_of_a_training_are_declared_once() -> None:
    declared = options_of_fields(FineTuneSettings)
    actions = {action.dest: action for command, action in FLAGS if command == "agm finetune"}
    documented = FineTuneConfig.__doc__ or ""
    for name, each in declared.items():
        action = actions.pop(dest_of(name, each))
        assert (action.option_strings, action.help, action.default) == ([flag_of(name, each)], help_of(each), None)
        assert each.documented(name) in documented
    assert actions.keys() == {"help", "config", "resume", "weights", "processes"}


@pytest.mark.parametrize(
    ("command", "family"), [("generate", Sampling), ("generate", ModelOptions), ("bench", BenchSettings)]
)
def test_what_shapes_clips_is_declared_once(command: str, family: Any) -> None:
    actions = {action.dest: action for name, action in FLAGS if name == f"agm {command}"}
    for name, each in options_of(family).items():
        assert each.documented(name) in (family.__doc__ or "")
        if flag := flag_of(name, each):
            action = actions[dest_of(name, each)]
            assert (action.option_strings, action.help) == ([flag], help_of(each))
            assert action.default == ([] if each.repeated else each.default)
    needed = {"generate": ["--model", "m", "--prompt", "p", "-o", "out"], "bench": ["all"]}[command]
    given = arguments_of(build_parser().parse_args([command, *needed]), family)
    for read_by_the_command in {"splits", "training", "fractions"} & given.keys():
        del given[read_by_the_command]
    needed_by_the_family = {"roots": {}} if family is BenchSettings else {}
    assert family(**given | needed_by_the_family) == family(**needed_by_the_family)


def test_errors_name_the_flags_that_there_are() -> None:
    for name, options in DECLARED.items():
        for each in options:
            if (flag := flag_of(name, each)) and not isinstance(each.default, bool):
                with speaking_flags():
                    assert option(name, "1") == f"{flag} 1"


def test_a_family_fills_in_and_checks() -> None:
    assert SystemOptions(limit=3) == {**SystemOptions(), "limit": 3}
    assert EmbeddingOptions()["batch_size"] == ExtractionOptions().batch_size
    assert ExtractionOptions.of(EmbeddingOptions()) == ExtractionOptions()
    for name, each in options_of(SystemOptions).items():
        assert each.checked(name, each.default) == each.default
    with pytest.raises(UsageError, match=r"workers=-1\. Use a whole number, at least 0"):
        SelftestOptions(workers=-1)
    with pytest.raises(UsageError, match="batch_size=None"):
        EmbeddingOptions(batch_size=None)  # type: ignore[typeddict-item]
    with pytest.raises(UsageError, match=r"unknown pairing 'all'\. Use auto, id or none"):
        SystemOptions(pairing="all")  # type: ignore[typeddict-item]
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'devise'. Did you mean 'device'\?"):
        SelftestOptions(devise="cpu")  # type: ignore[typeddict-unknown-key]


def test_takes_adds_to_a_docstring_of_any_form() -> None:
    def bare(**options: Unpack[SelftestOptions]) -> None:
        """Do it."""

    def full(folder: str, **options: Unpack[SelftestOptions]) -> None:
        """Do it.

        Parameters
        ----------
        folder
            Of audio.

        Raises
        ------
        DataError
            No audio.
        """

    def undocumented(**options: Unpack[SelftestOptions]) -> None:
        pass

    for function in (bare, full, undocumented):
        takes(SelftestOptions)(function)
        assert "device" in inspect.signature(function).parameters
    assert (bare.__doc__ or "").startswith("Do it.\n\nParameters\n----------\nworkers\n    Decoding threads;")
    assert re.search(r"folder\n    Of audio\.\nworkers\n(.*\n)+\nRaises\n-{6}\n", full.__doc__ or "")
    assert undocumented.__doc__ is None


FAMILIES = [*(each for each in vars(run_options).values() if isinstance(each, Family))]
FAMILIES += [Sampling, ModelOptions, BenchSettings, FineTuneSettings]
RANGED = [
    (family, name)
    for family in FAMILIES
    for name, each in options_of(family).items()
    if flag_of(name, each) and each.least is not None
]


def outside(each: Option) -> Iterator[tuple[str, float]]:
    """Yield numbers beyond the ends of a range, as text and as they are."""
    step = 0.01 if each.type.startswith("float") else 1
    assert each.least is not None
    yield f"{each.least - step:.15g}", each.least - step
    if each.most not in (None, math.inf):
        assert each.most is not None
        beyond = each.most + step if step < 1 else int(each.most) + 1
        yield f"{beyond:.15g}" if step < 1 else str(beyond), beyond


@pytest.mark.parametrize(("family", "name"), RANGED, ids=[f"{each[0].__name__}-{each[1]}" for each in RANGED])
def test_a_range_reaches_every_command(family: Any, name: str) -> None:
    """The parser refuses what the library refuses, at both ends, and takes the ends themselves."""
    declared = options_of(family)[name]
    flag, said = flag_of(name, declared), help_of(declared)
    actions = [each for _, each in FLAGS if flag in each.option_strings and each.help == said]
    assert actions
    for action in actions:
        assert callable(action.type)
        for text, number in outside(declared):
            with pytest.raises(argparse.ArgumentTypeError) as caught:
                action.type(text)
            assert str(caught.value).startswith(f"{text} is out of range; use a ")
            assert str(caught.value).endswith(bounds(declared.least or 0, declared.most))
            with pytest.raises(UsageError):
                declared.checked(name, number)
        for end in {declared.least, declared.most} - {None}:
            assert action.type(f"{end:.0f}" if isinstance(end, int) else f"{end}") == end


def test_every_number_of_a_training_has_a_range() -> None:
    for name, each in options_of(FineTuneSettings).items():
        assert (each.least is not None) == each.type.startswith(("int", "float")), name
        for _, number in outside(each) if each.least is not None else ():
            with pytest.raises(UsageError, match="is out of range"):
                FineTuneConfig("sounds", "out", **{name: number})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--steps", "2000"], "argument --steps: 2000 is out of range; use a whole number, from 1 to 1000"),
        (["--eta", "1.5"], "argument --eta: 1.5 is out of range; use a number, from 0 to 1"),
        (["--guidance", "nan"], "argument --guidance: nan is out of range; use a number, at least 0"),
        (["--guidance", "inf"], "argument --guidance: inf is out of range; use a number, at least 0"),
    ],
)
def test_an_error_names_flag_value_and_range(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(["generate", "--model", "m", "--prompt", "p", "-o", "out", *flags])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
