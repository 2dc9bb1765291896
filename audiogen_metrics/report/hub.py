"""Scores for a model's page on Hugging Face: files for ``.eval_results``, and the ``model-index`` of a card."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Required, TypeAlias, TypedDict

from audiogen_metrics.errors import DataError, MissingDependencyError, UsageError, spoken
from audiogen_metrics.metrics import definition_of
from audiogen_metrics.registry import unknown_name
from audiogen_metrics.results import Score, ScoreReport
from audiogen_metrics.score_text import EXACT

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, EvalResultEntry

__all__ = ["EvalResultFields", "ModelIndexFields"]

SCORE = "{score}"
"""Stands for the id of each score."""

Form: TypeAlias = Literal["eval-results", "model-index"]


class EvalResultFields(TypedDict, total=False):
    """What a report cannot know of an entry in ``.eval_results``.

    Parameters
    ----------
    dataset_id
        The benchmark's data set on the hub, ``"OWNER/NAME"``; required.
    task_id
        Name of the benchmark's task. ``{score}`` stands for the id of each score, and is the default: one task has
        one value.
    dataset_revision
        Commit of the data set.
    date
        When it was scored, ISO 8601; the hub takes the commit's time otherwise.
    source_url, source_name, source_user, source_org
        Where the evaluation can be read; the others need the URL.
    verify_token
        Signature of a run that can be checked.
    notes
        Put before the notes that the report gives.
    """

    dataset_id: Required[str]
    task_id: str
    dataset_revision: str
    date: str
    source_url: str
    source_name: str
    source_user: str
    source_org: str
    verify_token: str
    notes: str


class ModelIndexFields(TypedDict, total=False):
    """What a report cannot know of an entry in a card's ``model-index``.

    Parameters
    ----------
    model_name
        Required.
    task_type
        Of the hub, such as ``"text-to-audio"``; required.
    dataset_id
        On the hub, ``"OWNER/NAME"``; required.
    dataset_name, task_name
        For people; the first is otherwise the end of ``dataset_id``.
    dataset_config, dataset_split, dataset_revision
        Which part of it.
    source_url, source_name
        Where the evaluation can be read; the name needs the URL.
    """

    model_name: Required[str]
    task_type: Required[str]
    dataset_id: Required[str]
    dataset_name: str
    task_name: str
    dataset_config: str
    dataset_split: str
    dataset_revision: str
    source_url: str
    source_name: str


FIELDS: dict[Form, type[Any]] = {"eval-results": EvalResultFields, "model-index": ModelIndexFields}

REQUIRED = {"dataset_id": "OWNER/NAME", "model_name": "NAME", "task_type": "text-to-audio"}
"""Fields that cannot be left out, where a form has them, with an example of each."""


def to_eval_results(report: ScoreReport, known: Mapping[str, Any]) -> str:
    """Return what `ScoreReport.to_eval_results` describes."""
    hub = _hub()
    return _yaml(hub.eval_result_entries_to_yaml(eval_result_entries(report, known)))


def to_model_index(report: ScoreReport, known: Mapping[str, Any]) -> str:
    """Return what `ScoreReport.to_model_index` describes."""
    results = eval_results(report, known)
    card = _hub().ModelCardData(model_name=known["model_name"], eval_results=results)
    return _yaml(card.to_dict())


def eval_result_entries(report: ScoreReport, known: Mapping[str, Any]) -> list[EvalResultEntry]:
    """Return a `huggingface_hub.EvalResultEntry` for each score that has a value.

    Parameters
    ----------
    report
        Scores.
    known
        See `EvalResultFields`.
    """
    check_fields("eval-results", known)
    fields = {"task_id": SCORE, **known}
    task, notes = fields.pop("task_id"), fields.pop("notes", None)
    scores = _valued(report)
    if len(scores) > 1 and SCORE not in task:
        raise UsageError(
            f"{len(scores)} scores cannot all be the value of the task {task!r}",
            where="task_id",
            fix=f"Write {SCORE} in its name, or score by one metric",
        )
    return [
        _hub().EvalResultEntry(
            task_id=task.replace(SCORE, score.id),
            value=score.value,
            notes="; ".join(filter(None, [notes, _notes(score, report)])),
            **fields,
        )
        for score in scores
    ]


def eval_results(report: ScoreReport, known: Mapping[str, Any]) -> list[EvalResult]:
    """Return a `huggingface_hub.EvalResult` for each score that has a value.

    Parameters
    ----------
    report
        Scores.
    known
        See `ModelIndexFields`.
    """
    check_fields("model-index", known)
    fields = {"dataset_name": known["dataset_id"].rpartition("/")[2], **known}
    del fields["model_name"]
    dataset = fields.pop("dataset_id")
    return [
        _hub().EvalResult(
            dataset_type=dataset,
            metric_type=score.id,
            metric_name=_title(score),
            metric_value=score.value,
            metric_args=_arguments(score, report),
            **fields,
        )
        for score in _valued(report)
    ]


def check_fields(form: Form, known: Mapping[str, Any]) -> None:
    """Raise UsageError unless the fields are those of ``form``, complete, and as huggingface_hub wants them."""
    hub, kind = _hub(), FIELDS[form]
    for name, value in known.items():
        if name not in kind.__annotations__:
            raise unknown_name("field", name, [*kind.__annotations__])
        if not isinstance(value, str) or not value.strip():
            raise UsageError(f"{value!r} is not a text with something in it", where=name)
    if missing := [name for name in REQUIRED if name in kind.__annotations__ and name not in known]:
        examples = [spoken(f'{name}="{REQUIRED[name]}"', f"--hub {name}={REQUIRED[name]}") for name in missing]
        fix = f"Add {spoken(', ', ' ').join(examples)}"
        raise UsageError(f"the scores do not tell {', '.join(missing)}", where=form, fix=fix)
    try:
        hub.utils.validate_repo_id(known["dataset_id"])
    except ValueError as error:
        raise UsageError(" ".join(str(error).split()), where="dataset_id") from error
    if any(name.startswith("source_") for name in known) and "source_url" not in known:
        raise UsageError("a source needs its URL", where=form, fix="Add source_url, or leave the source out")
    try:
        datetime.fromisoformat(known.get("date", "2026-01-01"))
    except ValueError as error:
        fix = "Write it like 2026-01-31 or 2026-01-31T10:30:00Z"
        raise UsageError(f"{known['date']!r} is not a date of ISO 8601", where="date", fix=fix) from error


def _valued(report: ScoreReport) -> list[Score]:
    found = [score for score in report.scores.values() if score.value is not None]
    if not found:
        reasons = "; ".join(f"{score.id}: {score.reason}" for score in report.scores.values())
        raise DataError(f"no score has a value ({reasons})")
    return found


def _notes(score: Score, report: ScoreReport) -> str:
    """Return all that must stand beside the number, as one line."""
    counts = f"n_gen {score.n_gen}" + f", n_ref {score.n_ref}" * (score.n_ref is not None)
    parts = [_title(score), f"{'higher' if score.higher_is_better else 'lower'} is better", counts]
    if score.std is not None:
        parts.append(f"standard deviation {score.std:.4g}")
    if score.ci95 is not None:
        exact = f" ({EXACT})" * (score.ci95_ref == "exact")
        parts.append("95 % interval {:.4g} to {:.4g}".format(*score.ci95) + exact)
    caveat = f" ({report.caveat})" * bool(report.caveat)
    parts += [f"backbone {score.backbone}", f"protocol {report.protocol}{caveat}", *score.remarks]
    return "; ".join([*parts, f"audiogen-metrics {_version(report)}"])


def _arguments(score: Score, report: ScoreReport) -> dict[str, Any]:
    """Return what a card's metric has as arguments: what must stand beside the number, as data."""
    found = {
        "protocol": report.protocol,
        "backbone": score.backbone,
        "n_gen": score.n_gen,
        "n_ref": score.n_ref,
        "higher_is_better": score.higher_is_better,
        "std": score.std,
        "ci95": None if score.ci95 is None else list(score.ci95),
        "ci95_ref": score.ci95_ref,
        "caveat": report.caveat or None,
        "remarks": list(score.remarks) or None,
        "audiogen_metrics": _version(report),
    }
    return {name: value for name, value in found.items() if value is not None}


def _title(score: Score) -> str:
    kind = definition_of(score.metric)
    return score.metric if kind is None else kind.title


def _version(report: ScoreReport) -> str:
    return report.versions.get("audiogen-metrics", "unknown")


def _yaml(content: Any) -> str:
    text: str = _hub().utils.yaml_dump(content, sort_keys=False)
    return text


def _hub() -> ModuleType:
    """Return huggingface_hub; MissingDependencyError if it is not there, or does not know ``.eval_results``."""
    try:
        import huggingface_hub

        _ = huggingface_hub.EvalResultEntry
    except (ImportError, AttributeError) as error:
        what = "is too old" if isinstance(error, AttributeError) else f"cannot be imported ({error})"
        fix = "Install the extra: pip install 'audiogen-metrics[hub]'"
        raise MissingDependencyError(f"huggingface_hub {what}", fix=fix) from error
    return huggingface_hub
