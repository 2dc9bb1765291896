"""Pages that come from the code itself at every build: they cannot go out of date.

A page holds ``%% generated: NAME %%`` where the part called NAME belongs; nothing is written into the source tree.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path

from counterparts import calls, commands, label
from gallery import gallery
from sphinx.application import Sphinx

from audiogen_metrics.audio.preparation import PeakPreprocessing, Preprocessing
from audiogen_metrics.cli.main import EXIT_CODES, build_parser
from audiogen_metrics.metrics import catalogue
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.protocols import PROTOCOLS

USAGE_WIDTH = 86


def exit_codes() -> Iterator[str]:
    """Yield the lines of the table of exit codes."""
    text = " ".join(EXIT_CODES.split()).removeprefix("exit codes: ")
    yield from ("| code | meaning |", "|---|---|")
    for code, meaning in re.findall(r"(\d+) (.+?)(?=, \d+ |$)", text):
        yield f"| {code} | {meaning} |"


def command_line() -> Iterator[str]:
    """Yield the lines of the reference of all commands."""
    yield from _command(build_parser(), "", level=1)


def _command(parser: argparse.ArgumentParser, summary: str, level: int) -> Iterator[str]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    command = parser.prog.removeprefix("agm ")
    if level > 1:
        heading = f"{'#' * level} {parser.prog}"
        yield from (f"({label(command)})=", heading, "", _sentence(parser.description or summary), "")
    if level > 1 and not groups:
        yield from (calls(command), "")
        parser.formatter_class = partial(argparse.HelpFormatter, width=USAGE_WIDTH)  # type: ignore[assignment]
        yield from ("```text", parser.format_usage().rstrip(), "```", "")
    for action in parser._actions:
        if not isinstance(action, argparse._HelpAction | argparse._SubParsersAction | argparse._VersionAction):
            yield from _argument(action)
    for group in groups:
        helps = {choice.dest: choice.help or "" for choice in group._choices_actions}
        for name, child in group.choices.items():
            yield from _command(child, helps.get(name, ""), level + 1)


def _argument(action: argparse.Action) -> Iterator[str]:
    value = "" if action.nargs == 0 else str(action.metavar or "|".join(map(str, action.choices or ())) or action.dest)
    if action.option_strings:
        value = value.upper() if value == action.dest else value
        term = f"{', '.join(action.option_strings)} {value}".rstrip()
    else:
        term = value
    # Help begins with names of values, so it keeps its lower case.
    kind = getattr(action.type, "__name__", "")
    text = _code((action.help or "—") % {"default": action.default, "prog": "agm", "type": kind})
    yield from (f"`{term}`", f": {text}{' (required)' * (action.required and bool(action.option_strings))}", "")


def metrics() -> Iterator[str]:
    """Yield the table of all metrics, each with the page about it or about its family."""
    yield from ("| score | what it says | better | needs |", "|---|---|---|---|")
    pages = {page.stem for page in (Path(__file__).parents[1] / "metrics").glob("*.md")}
    for name, kind in catalogue().items():
        family = [other for other, it in catalogue().items() if it.__module__ == kind.__module__]
        page = next((each for each in [name, *family, kind.__module__.rpartition(".")[2]] if each in pages), None)
        title = f"{kind.title} (`{name}`)" if page is None else f"[{kind.title}](metrics/{page}.md) (`{name}`)"
        better = "higher" if kind.higher_is_better else "lower"
        needs = {"pairs": "pairs"}.get(kind.needs, "a reference set") if "ref" in kind.sides else "*gen* only"
        needs = "*gen* and prompts" if kind.prompted else needs
        yield f"| {title} | {kind.reading} | {better} | {needs} |"


def protocols() -> Iterator[str]:
    """Yield the lines about every protocol."""
    for protocol in PROTOCOLS.values():
        yield from (f"## {protocol.name}", "", _sentence(protocol.summary), "", f"Source: {protocol.source}.", "")
        if protocol.caveat:
            yield from (f"**{_sentence(protocol.caveat)}**", "")
        if protocol.defects:
            yield from (
                "Known defects, kept on purpose:",
                "",
                *(f"- {_sentence(text)}" for text in protocol.defects),
                "",
            )
        yield from ("| score | statistic | backbone | computed on |", "|---|---|---|---|")
        for recipe in protocol.recipes.values():
            output = recipe.definition.output
            yield f"| `{recipe.score_id}` | {_statistic(recipe)} | `{recipe.backbone}` | {output} |"
        yield ""
        if later := [f"`{recipe.score_id}`" for recipe in protocol.recipes.values() if recipe.added]:
            yield from (f"Added, so null with the reason where their network is missing: {', '.join(later)}.", "")
        shared: dict[Preprocessing, list[str]] = {}
        for recipe in protocol.recipes.values():
            shared.setdefault(recipe.preprocessing, []).append(f"`{recipe.score_id}`")
        for preprocessing, scores in shared.items():
            yield f"Audio{'' if len(shared) == 1 else ' for ' + ', '.join(scores)}: {_audio(preprocessing)}."
        yield ""


def _statistic(recipe: Recipe) -> str:
    words = {
        "splits": "{} splits",
        "seed": "seed {}",
        "eps": "ε = {}",
        "bandwidth": "kernel as wide as *{}*",
    }
    options = [
        words.get(name, name + " {}").format(f"{value:g}".replace("e-0", "e-") if isinstance(value, float) else value)
        for name, value in recipe.definition.options.items()
    ]
    return ", ".join([recipe.definition.title, *options])


def _audio(preprocessing: Preprocessing) -> str:
    """Return a preprocessing in words; a field that has no words here is named with its value."""
    depths = {
        "file": ("read as 16-bit integers", ""),
        "resampled": ("", "rounded to 16 bits"),
        "truncated": ("", "cut off to 16 bits towards zero, full scale 32 767"),
        "resampled-truncated": ("", "rounded to 16 bits, then cut off to 16 bits towards zero, full scale 32 767"),
        None: ("", ""),
    }
    resamplers = {
        "torchaudio-kaiser": "a Kaiser-windowed sinc of torchaudio's (width 64, rolloff 0.9476, β 14.77)",
        "decimate": "taking every third sample of 48 kHz, every second of 32 kHz and then half of those, and else the"
        " default of `torchaudio.functional.resample`",
        "decimate-resampy": "taking every second sample of 32 kHz, and else resampy's kaiser_best",
        "torchaudio": "`torchaudio.functional.resample` with its defaults (Hann-windowed sinc, width 6, rolloff 0.99)",
        "resampy": "resampy's kaiser_best",
    }
    channels = {"first": "first channel", "mean": "mean of the channels"}
    rate, shortest = preprocessing.sample_rate, preprocessing.minimum_samples
    padding = f"zero-padded on the right to {shortest} samples ({shortest / rate:g} s)" if shortest else "not padded"
    depth, longest, floor = preprocessing.sixteen_bit, preprocessing.maximum_samples, preprocessing.peak_floor
    before, after = depths.get(depth, ("", f"to 16 bits: {depth}"))
    peak = ""
    if isinstance(preprocessing, PeakPreprocessing):
        peak = f"brought to a peak of {preprocessing.peak_dbfs:g} dBFS".replace("-", "−")
    words = {
        "sixteen_bit": before or after,
        "peak_dbfs": peak,
        "peak_floor": f"divided by its largest sample (at least {floor:g})" if floor else "",
        "maximum_samples": f"cut to {longest} samples ({longest / rate:g} s)" if longest else "",
        "channel": channels.get(preprocessing.channel, preprocessing.channel),
        "remove_dc": "mean of the whole clip removed" if preprocessing.remove_dc else "mean kept",
        "sample_rate": f"to {rate} Hz",
        "resampler": f"by {resamplers.get(preprocessing.resampler, preprocessing.resampler)}",
        "minimum_samples": padding,
    }
    others = [f"{field.name} {getattr(preprocessing, field.name)}" for field in fields(preprocessing)]
    steps = [before, words["channel"], words["peak_floor"], words["remove_dc"]]
    steps += [f"{words['sample_rate']} {words['resampler']}", peak, after, words["maximum_samples"], padding]
    return ", ".join([*filter(None, steps), *(text for text in others if text.split()[0] not in words)])


def _sentence(text: str) -> str:
    text = _code(text.strip())
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def _code(text: str) -> str:
    """Mark commands and flags in plain text as code."""
    return re.sub(r"(?<!\w)(--[a-z][a-z-]*|agm [^.,:;)]+)", r"`\1`", text)


def name_commands(_app: Sphinx, _what: str, name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Say below the summary of a name of the API which command does the same."""
    if text := commands(name):
        end = lines.index("") if "" in lines else len(lines)
        lines[end:end] = ["", text]


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "exit codes": exit_codes,
    "command line": command_line,
    "gallery": gallery,
    "metrics": metrics,
    "protocols": protocols,
}
PLACE = re.compile(r"^%% generated: (.+) %%$", re.MULTILINE)


def fill(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Put the parts in their places."""
    source[0] = PLACE.sub(lambda place: "\n".join(PARTS[place[1]]()), source[0])


def outdated(*_arguments: object) -> list[str]:
    """Name the pages that must be read again even if their files have not changed."""
    return ["cli", "index", "probes", "protocols"]


def setup(app: Sphinx) -> dict[str, bool]:
    """Fill the pages when they are read."""
    app.connect("source-read", fill)
    app.connect("env-get-outdated", outdated)
    app.connect("autodoc-process-docstring", name_commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
