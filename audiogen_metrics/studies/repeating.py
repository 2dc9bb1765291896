"""The command that runs a study again, as far as the study knows it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from audiogen_metrics.errors import UsageError
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.probes.configuration import configure
from audiogen_metrics.protocols import PROTOCOLS, get_protocol
from audiogen_metrics.studies.result import Study

NOT_RECORDED = "--labels, --events, --limit, --prompts, --suffix, --backbone and --weights"
"""Flags that shape a study and do not stand in it."""


def command_of(study: Study) -> str | None:
    """Return the command line of a study; None where its metrics or probes are not those that their names say."""
    scores = dict.fromkeys(finding.score for finding in study.findings)
    if scores.keys() != recipes_of(study).keys():
        return None
    settings = {name: [*_changed(name, run.settings)] for name, run in study.probes.items()}
    try:
        for name, changed in settings.items():
            if configure(name, dict(changed)).settings != study.probes[name].settings:
                return None
    except UsageError:
        return None
    words = ["agm", "study", study.ref.path, "--protocol", study.protocol, "-m", ",".join(scores)]
    words += ["--probes", ",".join(study.probes)]
    words += ["--fractions", _doses(study.fractions), "--severities", _doses(study.severities)]
    words += ["--repeats", str(study.repeats), "--seed", str(study.seed)]
    words += ["--redraw-parameters"] * study.redraw_parameters
    for name, changed in settings.items():
        words += [f"--set={name}.{setting}={text}" for setting, text in changed]
    return shlex.join(words)


def recipes_of(study: Study) -> dict[str, Recipe]:
    """Return by its id what its protocol says of each score; a score of one's own metric is not there."""
    known = get_protocol(study.protocol).every.values() if study.protocol in PROTOCOLS else ()
    scores = {finding.score for finding in study.findings}
    return {recipe.score_id: recipe for recipe in known if recipe.score_id in scores}


def _changed(name: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the settings of a probe that are not its defaults, by name, as text."""
    usual = dict(flat(configure(name).settings))
    yield from ((setting, text) for setting, text in flat(settings) if usual.get(setting) != text)


def flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield settings and those of their parts, by the names that ``--set`` has for them, as text.

    Examples
    --------
    >>> list(flat({"spans": 2, "per_span": True, "mel": {"hop": 256}}))
    [('spans', '2'), ('per_span', 'true'), ('mel.hop', '256')]
    """
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{part}", text) for part, text in flat(value))
        else:
            yield name, str(value).lower() if isinstance(value, bool) else str(value)


def _doses(doses: Sequence[float]) -> str:
    return ",".join(str(dose).removesuffix(".0") for dose in doses) or "none"
