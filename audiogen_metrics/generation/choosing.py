"""The best of several candidates, by any metric that scores single clips, for any generator."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiogen_metrics.errors import AudiogenMetricsError, DataError, NumericsError, UsageError
from audiogen_metrics.generation.base import Generated, Generator, Request, clips_of
from audiogen_metrics.metrics import catalogue
from audiogen_metrics.metrics.clip_mean import ClipMean
from audiogen_metrics.options import whole
from audiogen_metrics.protocols import get_protocol

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from audiogen_metrics.metrics.recipe import Recipe

__all__ = ["BestOf", "recipe_for_clips"]


def recipe_for_clips(name: str, protocol: str = "audioldm") -> Recipe:
    """Return the recipe of a metric by which single clips can be chosen.

    Parameters
    ----------
    name
        A metric or score id, with its network if it is to be another one: ``pq``, ``clap@clap-laion-music``.
    protocol
        Whose recipe.

    Raises
    ------
    UsageError
        An unknown name, several scores of one name, or a metric that has no score of a single generated clip.

    Examples
    --------
    >>> recipe_for_clips("pq").score_id
    'pq_audiobox'
    >>> recipe_for_clips("fd")
    Traceback (most recent call last):
    audiogen_metrics.errors.UsageError: fd_panns is a score of a whole set, not of a single clip. Choose by pq, ...
    """
    recipes = get_protocol(protocol).select(name)
    if len(recipes) > 1:
        ids = ", ".join(recipe.score_id for recipe in recipes)
        raise UsageError(f"{len(recipes)} scores are called {name!r}", fix=f"Choose one of {ids}")
    (recipe,) = recipes
    if not isinstance(recipe.definition, ClipMean):
        known = [kind.name for kind in catalogue().values() if issubclass(kind, ClipMean)]
        paired = "ref" in recipe.definition.sides and recipe.definition.needs == "pairs"
        what = "needs a reference for each clip" if paired else "is a score of a whole set, not of a single clip"
        raise UsageError(f"{recipe.score_id} {what}", fix=f"Choose by {', '.join(known)}")
    return recipe


class BestOf:
    """A `Generator` that makes several candidates of each clip with another one, and keeps the best.

    The candidates of a clip are requests that differ in `Request.candidate`, and so in `Request.stream`, from which a
    generator draws. All scores, the number of the kept one and its seed are in the clip's notes, and so in the
    manifest.

    Parameters
    ----------
    generator
        Makes the candidates.
    choose_by
        Metric or score id, as in `recipe_for_clips`; the highest score is kept, or the lowest where lower is better,
        and of equal ones the first.
    candidates
        How many of each clip, at least 2.
    protocol
        Whose recipe of the metric.
    device, weights
        As in `audiogen_metrics.score`, for the metric's network.

    Raises
    ------
    UsageError
        A metric that does not score single clips.
    MissingWeightsError, MissingDependencyError
        The metric's network is not on this machine; nothing has been made then.

    Examples
    --------
    >>> import numpy as np
    >>> from audiogen_metrics.generation.base import FunctionGenerator
    >>> hiss = lambda request: np.random.default_rng(request.stream()).normal(0, 0.1, 16000)
    >>> best = BestOf(FunctionGenerator(hiss, 16000, {}), "pq", candidates=3)  # doctest: +SKIP
    >>> best.generate([Request("a", "rain")])[0].notes  # doctest: +SKIP
    {'candidate': 2, 'candidate_seed': 31..., 'candidate_scores': {'pq_audiobox': [4.1, 3.9, 4.6]}}
    """

    def __init__(
        self,
        generator: Generator,
        choose_by: str,
        candidates: int,
        *,
        protocol: str = "audioldm",
        device: str | torch.device = "auto",
        weights: Mapping[str, str | Path] | None = None,
    ) -> None:
        from audiogen_metrics.evaluation.networks import find_networks

        self.generator = generator
        self.candidates: int = whole("candidates", candidates, 2)
        self.recipe: Recipe = recipe_for_clips(choose_by, protocol)
        self._backbone = find_networks([self.recipe], device, weights).backbones[self.recipe.backbone]
        self.sample_rate: int = generator.sample_rate
        self.batch_size: int = max(1, generator.batch_size // self.candidates)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The generator's settings, how many candidates there are and what chooses among them."""
        chosen = {"score": self.recipe.score_id, **self.recipe.options(), "network": self._backbone.settings}
        if self.recipe.definition.prompted:
            chosen["texts"] = self._backbone.text_settings
        return {**self.generator.settings, "candidates": self.candidates, "choose_by": chosen}

    def require_prompts(self, requests: Sequence[Request]) -> None:
        """Raise DataError for a request without the prompt that the metric needs; before anything is made."""
        if self.recipe.definition.prompted:
            for request in requests:
                if not (request.prompt or "").strip():
                    raise DataError(
                        f"has no prompt, which {self.recipe.score_id} asks for",
                        where=request.clip_id,
                        fix="Give it one, or choose by a metric that hears the clip alone, such as pq",
                    )

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        """Return the best candidate of each request, in order.

        Raises
        ------
        DataError
            A clip without a prompt where one is needed, a candidate that cannot be scored, or candidates that are all
            the same.
        """
        self.require_prompts(requests)
        asked = [replace(request, candidate=each) for request in requests for each in range(self.candidates)]
        made = list(self._made(asked))
        parts = [made[start : start + self.candidates] for start in range(0, len(made), self.candidates)]
        return [self._best(request, clips) for request, clips in zip(requests, parts, strict=True)]

    def _made(self, requests: Sequence[Request]) -> Iterator[Generated]:
        size = max(1, self.generator.batch_size)
        for start in range(0, len(requests), size):
            batch = requests[start : start + size]
            yield from clips_of(self.generator, batch)

    def _best(self, request: Request, clips: Sequence[Generated]) -> Generated:
        if all(np.array_equal(clip.waveform, clips[0].waveform) for clip in clips[1:]):
            raise DataError(
                f"all {len(clips)} candidates are the same",
                where=request.clip_id,
                fix="The generator must draw what is random from request.stream(), which differs between candidates",
            )
        scores = [self._score(request, place, clip.waveform) for place, clip in enumerate(clips)]
        pick = np.argmax if self.recipe.definition.higher_is_better else np.argmin
        chosen = int(pick(scores))
        notes = {
            **clips[chosen].notes,
            "candidate": chosen,
            "candidate_seed": request.stream(chosen),
            "candidate_scores": {self.recipe.score_id: [round(score, 6) for score in scores]},
        }
        return Generated(clips[chosen].waveform, notes)

    def _score(self, request: Request, place: int, waveform: npt.NDArray[np.float32]) -> float:
        """Return the score of one clip, scaled to full scale where it is beyond, as a 16-bit file of it is."""
        from audiogen_metrics.audio.decoding import Audio
        from audiogen_metrics.audio.preparation import prepare

        where = f"{request.clip_id} (candidate {place})"
        peak = float(np.abs(waveform).max(initial=0.0))
        samples = np.ascontiguousarray(waveform / np.float32(max(1.0, peak)), dtype=np.float32)[:, None]
        try:
            prepared = prepare(Audio(samples, self.sample_rate), self.recipe.preprocessing)
            row = self._row(prepared, request)
        except AudiogenMetricsError as error:
            raise type(error)(error.what, f"{where}: {self.recipe.score_id}", error.fix) from error
        definition = self.recipe.definition
        assert isinstance(definition, ClipMean)
        score = float(definition.column(row[None])[0])
        if not math.isfinite(score):
            raise NumericsError(f"{self.recipe.score_id} is {score}", where=where)
        return score

    def _row(self, waveform: torch.Tensor, request: Request) -> torch.Tensor:
        """Return the numbers of one clip that the metric takes its own from."""
        from audiogen_metrics.embedding.similarity import read_texts, similarity

        found = self._backbone(waveform[None]).named()
        if not self.recipe.definition.prompted:
            return found[self.recipe.definition.output][0]
        prompt = (request.prompt or "").strip()
        (text,) = read_texts(self._backbone, [prompt])
        return similarity(found["embeddings"][0], [prompt], {prompt: text.row.cpu()})
