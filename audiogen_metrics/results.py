"""What a run returns: scores with their n, protocol and backbone, and everything needed to judge them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from audiogen_metrics.citations import Citation, citations
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.manifest import LATER, InputSummary, Manifest
from audiogen_metrics.metrics import work_of
from audiogen_metrics.records import load_json, read
from audiogen_metrics.registry import unknown_name
from audiogen_metrics.rendering import Renderable
from audiogen_metrics.score_text import fragment_of, notes_of, rows_of, text_of
from audiogen_metrics.writing import written

if TYPE_CHECKING:
    from audiogen_metrics.report.hub import EvalResultFields, ModelIndexFields
    from audiogen_metrics.report.scalars import Names

__all__ = ["InputSummary", "Manifest", "Score", "ScoreReport"]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Score:
    """One number, or the reason why it is missing.

    Parameters
    ----------
    id
        Metric and backbone: ``fd_panns``.
    metric, backbone
        Their names.
    value
        The score; None if it could not be computed, and then `reason` says why. Never NaN.
    higher_is_better
        Which direction is better.
    n_gen, n_ref
        Clips it was computed on; ``n_ref`` is None for a metric that looks at the generated set only, and of statistics
        that do not say how many clips are behind them; `remarks` then say so.
    std
        Standard deviation (ddof 0) over the splits of an IS, or the subsets of a KID that has some; else None. It
        does not say how sure the score is: that is ``standard_error`` in `details`.
    ci95
        95 % confidence interval, where one was asked for.
    details
        What else shapes or explains the number: rows, splits, pairs, the two terms of a Fréchet distance.
    reason
        Why there is no value.
    ci95_ref
        What `ci95` makes of the reference: ``sampled`` if its own sampling is in the interval, ``exact`` if it is not,
        as where only statistics of the reference are known; None if the reference plays no part.
    remarks
        What else must be said beside the number: why it has no interval or no p, or why these are doubtful.
    """

    id: str
    metric: str
    backbone: str
    value: float | None
    higher_is_better: bool
    n_gen: int
    n_ref: int | None
    std: float | None = None
    ci95: tuple[float, float] | None = None
    details: Mapping[str, float | int] = field(default_factory=dict)
    reason: str | None = None
    ci95_ref: Literal["sampled", "exact"] | None = field(default=None, metadata=LATER)
    remarks: tuple[str, ...] = field(default=(), metadata=LATER)


@dataclass(frozen=True)
class ScoreReport(Renderable):
    """Scores of one generated set against one reference set.

    Attributes
    ----------
    scores
        The scores, by their ids.
    protocol, caveat
        The protocol's name, and what must be said beside its scores.
    gen, ref
        What was found, scored and skipped of each set; ``ref`` is None where there was none.
    pairing
        Its ``mode``, how many clips are ``paired``, and the ids that are in one set only.
    backbones
        By name, the settings of each network, with the digest of its weights.
    device
        Where the networks ran; ``unknown`` for features that do not say it.
    warnings
        What to know before the scores are believed.
    versions
        Versions of everything that takes part in a number.
    manifest
        What the run was asked for; None for sets that were not given as folders.
    missing
        By backbone, why it was missing where the run was done without it; its scores have no value.
    problems
        Those of the warnings that are about the machine of the run, its cache, its memory or its device, and not about
        the sets.

    Examples
    --------
    >>> score = Score("fd_panns", "fd", "panns-cnn14-16k", 24.1, False, 400, 400)
    >>> summary = InputSummary("gen", 400, 400, 0, 2000.0, "00")
    >>> report = ScoreReport({"fd_panns": score}, "audioldm", summary, summary)
    >>> report["fd_panns"].value
    24.1
    >>> "fd" in report, list(report)
    (True, ['fd_panns'])
    """

    scores: Mapping[str, Score]
    protocol: str
    gen: InputSummary
    ref: InputSummary | None
    caveat: str = ""
    pairing: Mapping[str, Any] = field(default_factory=dict)
    backbones: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    device: str = "unknown"
    warnings: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    manifest: Manifest | None = None
    problems: tuple[str, ...] = field(default=(), metadata=LATER)
    missing: Mapping[str, str] = field(default_factory=dict, metadata=LATER)

    @classmethod
    def load(cls, path: str | Path) -> ScoreReport:
        """Read a report that `to_json` or ``agm score --format json`` has written.

        Raises
        ------
        DataError
            Not such a file, or of another schema version.
        """
        return cls.from_dict(load_json(path), path)

    @classmethod
    def from_dict(cls, content: Any, path: str | Path) -> ScoreReport:
        """Read a report from what `to_dict` returns; ``path`` says in errors where it comes from."""
        if not isinstance(content, dict) or "schema_version" not in content or "reports" in content:
            several = isinstance(content, dict) and "reports" in content
            fix = "Pass one of its reports, or the whole file to audiogen_metrics.verify_systems"
            raise DataError(
                f"is not a score report{_origin(content)}",
                where=path,
                fix=fix if several else "Pass what agm score --format json has written",
            )
        content = dict(content)
        if content.pop("schema_version") != SCHEMA_VERSION:
            raise DataError(f"is not a score report of version {SCHEMA_VERSION}", where=path, fix="Score again")
        inputs = content.pop("inputs", None)
        if not isinstance(inputs, dict):
            raise DataError("inputs is missing", where=path)
        try:
            return read(cls, {**content, **inputs})
        except DataError as error:
            raise DataError(f"damaged report: {error}", where=path) from error

    def __getitem__(self, name: str) -> Score:
        """Return a score by its id, or by its metric where only one score has it."""
        found = self._named(name)
        if not found:
            raise unknown_name("score", name, [*self.scores])
        if len(found) > 1:
            ids = ", ".join(score.id for score in found)
            raise UsageError(f"{len(found)} scores are called {name!r}", fix=f"Choose one of {ids}")
        return found[0]

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a score with this id or of this metric."""
        return bool(self._named(name))

    def __iter__(self) -> Iterator[str]:
        """Yield the score ids."""
        return iter(self.scores)

    def __len__(self) -> int:
        """Return the number of scores."""
        return len(self.scores)

    def _named(self, name: object) -> list[Score]:
        if name in self.scores:
            return [self.scores[str(name)]]
        return [score for score in self.scores.values() if score.metric == name]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data, ready for strict JSON."""
        content = asdict(self)
        inputs = {"gen": content.pop("gen"), "ref": content.pop("ref")}
        return {"schema_version": SCHEMA_VERSION, **content, "inputs": inputs}

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return one line of CSV per score, behind a header, and write it to ``path`` if one is given.

        `audiogen_metrics.report.tables.to_csv` takes several reports.
        """
        from audiogen_metrics.report.tables import to_csv

        return written(to_csv(self), path)

    def to_markdown(self, path: str | Path | None = None) -> str:
        """Return the table of scores with its notes as GitHub's Markdown, and write it to ``path`` if one is given."""
        from audiogen_metrics.report.tables import to_markdown

        return written(to_markdown(self), path)

    def to_latex(self, path: str | Path | None = None, columns: str | Iterable[str] | None = None) -> str:
        """Return the scores as a LaTeX table with citations, and write it to ``path`` if one is given.

        ``columns`` chooses what it shows: value, std, ci95, p, n_gen, n_ref.
        """
        from audiogen_metrics.report.tables import to_latex

        return written(to_latex(self, columns), path)

    def to_av_benchmark(self, path: str | Path | None = None) -> str:
        """Return the scores as av-benchmark's ``output_metrics.json`` holds them, null where there is no value.

        Raises
        ------
        UsageError
            A report of another protocol.
        """
        from audiogen_metrics.report.tables import to_av_benchmark

        return written(to_av_benchmark(self), path)

    def to_html(self, path: str | Path | None = None) -> str:
        """Return a page of everything that the report holds, and write it to ``path`` if one is given.

        Players, the map of the sets and what single clips do need the audio and its embeddings, which a report does
        not hold: `audiogen_metrics.report.html.score_html` scores and writes the page with them.
        """
        from audiogen_metrics.report.html import page

        return written(page(self), path)

    def scalars(self, prefix: str = "", names: Names = "score-ids") -> dict[str, float]:
        """Return flat numbers for a logger: wandb, TensorBoard, Lightning's ``log_dict``.

        Parameters
        ----------
        prefix
            Put before every name: ``"eval/"``.
        names
            ``"score-ids"``: a score stands under its id, and beside it, under the id with an ending, what it has of
            ``_std``, ``_ci95_low``, ``_ci95_high`` and ``_p``, as in the columns of `to_csv`. ``"av-benchmark"``: the
            names of its ``output_metrics.json``, for a report of that protocol.

        Returns
        -------
        dict
            Floats of Python. A score without a value is left out, with all that belongs to it.

        Raises
        ------
        UsageError
            Names that there are not; av-benchmark's for a report of another protocol.

        Examples
        --------
        >>> scores = {
        ...     "fd_panns": Score("fd_panns", "fd", "panns-cnn14-16k", 24.1, False, 400, 400, ci95=(22.5, 25.75)),
        ...     "is_panns": Score("is_panns", "is", "panns-cnn14-16k", None, True, 4, None, reason="too few clips"),
        ... }
        >>> summary = InputSummary("gen", 400, 400, 0, 2000.0, "00")
        >>> ScoreReport(scores, "audioldm", summary, summary).scalars("eval/")
        {'eval/fd_panns': 24.1, 'eval/fd_panns_ci95_low': 22.5, 'eval/fd_panns_ci95_high': 25.75}
        """
        from audiogen_metrics.report.scalars import to_scalars

        return to_scalars(self, prefix, names)

    def to_eval_results(self, path: str | Path | None = None, **known: Unpack[EvalResultFields]) -> str:
        """Return the scores as a file for a model's ``.eval_results`` folder, and write it to ``path`` if one is given.

        The extra ``hub`` is needed. Each score is an entry, those without a value are left out.

        Parameters
        ----------
        path
            File to write, such as ``.eval_results/audiocaps.yaml``.
        **known
            What a report cannot know, above all ``dataset_id``; see `EvalResultFields`.

        Raises
        ------
        UsageError
            A field that is missing, unknown, or not as huggingface_hub wants it.
        DataError
            No score has a value.
        MissingDependencyError
            huggingface_hub is not installed, or too old.
        """
        from audiogen_metrics.report.hub import to_eval_results

        return written(to_eval_results(self, known), path)

    def to_model_index(self, path: str | Path | None = None, **known: Unpack[ModelIndexFields]) -> str:
        """Return the scores as ``model-index`` for the head of a model card, and write it to ``path`` if one is given.

        Parameters and errors are those of `to_eval_results`; the fields are those of `ModelIndexFields`.
        """
        from audiogen_metrics.report.hub import to_model_index

        return written(to_model_index(self, known), path)

    def inputs(self) -> dict[str, InputSummary]:
        """Return the sets that there are, ``gen`` before ``ref``."""
        return {"gen": self.gen} if self.ref is None else {"gen": self.gen, "ref": self.ref}

    def citations(self) -> tuple[Citation, ...]:
        """Return whom to cite for these scores: protocol, metrics, backbones, this library.

        Each prints as a line, and has ``bibtex()``.
        """
        used = [(work_of(score.metric), score.backbone) for score in self.scores.values()]
        return citations(used, self.protocol, self.versions.get("audiogen-metrics", "unknown"))

    def __str__(self) -> str:
        return text_of(self)

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table of scores as text for people, its header first."""
        return rows_of(self)

    def notes(self) -> list[str]:
        """Return what must be read beside the scores."""
        return notes_of(self)

    def _repr_html_(self) -> str:
        """Return the report as an HTML fragment; notebooks show it instead of the text."""
        return fragment_of(self)


def later_fields() -> frozenset[str]:
    """Return the names of all fields that reports of the first version do not have."""
    kinds = (Score, InputSummary, Manifest, ScoreReport)
    return frozenset(entry.name for kind in kinds for entry in fields(kind) if "later" in entry.metadata)


def _origin(content: object) -> str:
    """Return which other command has written a file, as far as its fields tell."""
    kinds = {"agm compare": {"a", "b", "differences"}, "agm verify": {"equal", "differences"}}
    if isinstance(content, dict) and "reports" in content:
        return " but several, of one system each"
    found = [name for name, fields in kinds.items() if isinstance(content, dict) and fields <= content.keys()]
    return f" but what {found[0]} writes" if found else ""
