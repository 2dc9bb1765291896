"""Others' Gaussian statistics as a reference: mean and covariance of a set whose audio and n are not known here."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiogen_metrics.audio.files import printable
from audiogen_metrics.embedding.foreign_files import FOLDER, Moments, held_by, holds_audio, read
from audiogen_metrics.embedding.foreign_networks import Standing, known, standing
from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError, option
from audiogen_metrics.options import as_path
from audiogen_metrics.registry import unknown_name
from audiogen_metrics.results import InputSummary

if TYPE_CHECKING:
    from audiogen_metrics.embedding.given import GivenFeatures
    from audiogen_metrics.functional.statistics import GaussianStatistics
    from audiogen_metrics.metrics.recipe import Recipe

__all__ = ["ForeignStatistics", "open_foreign"]

SEPARATOR = "::"
"""Between a file and which of its statistics is meant."""


@dataclass(frozen=True, eq=False)
class ForeignStatistics:
    """Statistics that another tool has written: which there are, which a recipe may take, and on what terms.

    They say neither n nor which clips, weights and audio are behind them. A score against them has no n of the
    reference, no p, and an interval of gen's sampling alone.

    Parameters
    ----------
    given
        The path as it was given.
    path
        The file or folder.
    layout
        What such a file is called.
    moments
        What it holds, by the name of the network; one under an empty name where it has none.
    trusted
        Whether the user vouches for what the file does not say.

    Examples
    --------
    >>> import numpy as np
    >>> np.savez("others.npz", mu=np.zeros(2), sigma=np.eye(2))  # doctest: +SKIP
    >>> open_foreign("others.npz").summary.statistics["layout"]  # doctest: +SKIP
    'mu and sigma (pytorch-fid, torch-fidelity)'
    """

    given: str | Path
    path: Path
    layout: str
    moments: Mapping[str, Moments]
    trusted: bool = False
    _served: dict[str, tuple[Moments, Standing]] = field(default_factory=dict, init=False, repr=False)
    _loaded: dict[str, GaussianStatistics] = field(default_factory=dict, init=False, repr=False)
    _hashed: dict[Path, str] = field(default_factory=dict, init=False, repr=False)

    clip_ids: tuple[str, ...] = ()
    """No clip is known."""

    @property
    def summary(self) -> InputSummary:
        """What is known of the set: where its statistics come from, those that were served if any were."""
        served = {score_id: moments for score_id, (moments, _) in self._served.items()}
        used = {moments.name: moments for moments in served.values()} or self.moments
        sums = self._digests([*used.values()])
        listing = "\n".join(f"{digest} {name}" for name, digest in sums.items())
        return InputSummary(
            path=printable(self.given),
            found=None,
            scored=None,
            ignored=0,
            seconds=0.0,
            digest=sums.get("SHA-256") or hashlib.sha256(listing.encode()).hexdigest(),
            statistics={
                "layout": self.layout,
                **{f"arrays of {score_id}": moments.arrays for score_id, moments in served.items()},
                **sums,
            },
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was taken on trust, for the recipes that were served."""
        return tuple(f"ref: {score_id}: {said.warning}" for score_id, (_, said) in self._served.items() if said.warning)

    def check(
        self, recipes: Iterable[Recipe], protocol: str, settings: Mapping[str, Mapping[str, str | int]] | None = None
    ) -> None:
        """Raise unless at least one recipe may take these statistics, and it is clear which.

        Raises
        ------
        UsageError
            It is not clear which recipe or statistics is meant, or the user must vouch for them.
        DataError
            Statistics of other networks only, or ones that are not mean and covariance.
        """
        needy = [recipe for recipe in recipes if "ref" in recipe.definition.sides]
        served = {recipe.score_id: recipe for recipe in needy if self._candidates(recipe)}
        if needy and not served:
            raise DataError(self._lacking(needy[0]), where=printable(self.given), fix=_FIX)
        self.require_one_kind([*served.values()])
        for recipe in served.values():
            self.select(recipe, protocol, None if settings is None else settings[recipe.backbone])

    def require(self, recipe: Recipe) -> None:
        """Raise InsufficientDataError for a recipe whose metric looks at the reference and cannot take these."""
        if "ref" in recipe.definition.sides and not self._candidates(recipe):
            raise InsufficientDataError(
                f"{recipe.score_id}: {self._lacking(recipe)}", where=printable(self.given), fix=_FIX
            )

    def select(self, recipe: Recipe, protocol: str, settings: Mapping[str, str | int] | None = None) -> GivenFeatures:
        """Return mean and covariance for a recipe, or why there are none for its metric.

        Parameters
        ----------
        recipe, protocol
            What is to be computed.
        settings
            Settings of the backbone of gen, whose weights are compared with the published ones; None before they are
            known.

        Raises
        ------
        UsageError, DataError
            As `check` does.
        """
        from audiogen_metrics.embedding.given import GivenFeatures

        if "ref" not in recipe.definition.sides or not self._candidates(recipe):
            return GivenFeatures((), counted=False, lacking=self._lacking(recipe))
        moments = self._chosen(recipe)
        weights = None if settings is None else str(settings["weights_sha256"])
        found = standing(moments.name, recipe, protocol, weights)
        if found.needs_trust and not self.trusted:
            raise UsageError(
                f"{found.fact}. Taking them for {recipe.score_id} means trusting that {found.trust}",
                where=printable(self.given),
                fix=f"{found.fix}If you do: {option('trust_reference')}",
            )
        gaussian = self.gaussian(moments.name)
        self._served[recipe.score_id] = moments, found
        return GivenFeatures((), gaussian=gaussian, counted=False)

    def is_of(self, tool: str, recipe: Recipe) -> bool:
        """Tell whether features of a tool, under the name of a recipe's backbone, are of the network of these."""
        return tool == "fadtk" and recipe.backbone in self.moments and recipe.definition.needs == "moments"

    def of_same_tool(self, recipe: Recipe) -> GivenFeatures:
        """Return mean and covariance for features that the same tool has written, under one name of the network."""
        from audiogen_metrics.embedding.given import GivenFeatures

        moments = self.moments[recipe.backbone]
        gaussian = self.gaussian(moments.name)
        self._served[recipe.score_id] = moments, Standing()
        return GivenFeatures((), gaussian=gaussian, counted=False)

    def require_width(self, recipe: Recipe, width: int) -> None:
        """Raise DataError where a recipe was served statistics of another width than its network's rows."""
        if recipe.score_id in self._served:
            moments = self._served[recipe.score_id][0]
            held = self.gaussian(moments.name).dimension
            if held != width:
                raise DataError(
                    f"{moments.arrays} are {held} wide, and rows of {recipe.backbone} {width}: another network's",
                    where=printable(self.given),
                    fix=_FIX,
                )

    def machine_differences(self, settings: Iterable[Mapping[str, Any]]) -> list[str]:
        """Return nothing: where they were made is not known."""
        del settings
        return []

    def gaussian(self, name: str) -> GaussianStatistics:
        """Return the mean and covariance under a name of `moments`.

        Raises
        ------
        DataError
            They cannot be read, or are not mean and covariance: shapes, types, NaN or infinity, not symmetric, or with
            an eigenvalue further below 0 than rounding brings it.
        """
        if name not in self._loaded:
            self._loaded[name] = read(self.path, self.moments[name])
        return self._loaded[name]

    def _digests(self, used: Sequence[Moments]) -> dict[str, str]:
        """Return the SHA-256 of the archive, or of each file that is read in a folder; no name of another place."""
        if self.layout != FOLDER:
            return {"SHA-256": self._digest(self.path)}
        names = [(each, Path(name)) for each in used for name in (each.mean, each.covariance)]
        alone = len(used) == 1
        return {
            f"SHA-256 of {name.name if alone else f'{each.name}/{name.name}'}": self._digest(self.path / name)
            for each, name in names
        }

    def _digest(self, file: Path) -> str:
        if file not in self._hashed:
            try:
                with file.open("rb") as content:
                    self._hashed[file] = hashlib.file_digest(content, "sha256").hexdigest()
            except OSError as error:
                raise DataError(f"cannot be read ({error.strerror})", where=printable(file)) from error
        return self._hashed[file]

    def _candidates(self, recipe: Recipe) -> list[Moments]:
        """Return what a recipe may take: of its network, or of one that is not named."""
        if recipe.definition.needs != "moments":
            return []
        return [each for each in self.moments.values() if not standing(each.name, recipe).other]

    def _chosen(self, recipe: Recipe) -> Moments:
        found = self._candidates(recipe)
        if len(found) > 1:
            names = [each.name for each in found]
            raise UsageError(
                f"{recipe.score_id} could take {' or '.join(names)}",
                where=printable(self.given),
                fix=f"Say which: {printable(self.path)}{SEPARATOR}{names[0]}",
            )
        return found[0]

    def require_one_kind(self, recipes: Sequence[Recipe]) -> None:
        """Raise UsageError where statistics that do not say what their rows are could be those of several recipes."""
        takers: dict[str, list[Recipe]] = defaultdict(list)
        for recipe in recipes:
            if not self._candidates(recipe):
                continue
            moments = self._chosen(recipe)
            if known(moments.name) is None:
                takers[moments.name].append(recipe)
        for name, several in takers.items():
            if len({(each.backbone, each.definition.output) for each in several}) > 1:
                ids = [each.score_id for each in several]
                raise UsageError(
                    f"{self.moments[name].arrays} do not say of which network and rows they are, and "
                    f"{' and '.join(ids)} could each take them",
                    where=printable(self.given),
                    fix=f"Name one: {option('metrics', ids[0])}",
                )

    def _lacking(self, recipe: Recipe) -> str:
        if recipe.definition.needs != "moments":
            return f"others' statistics are mean and covariance, and {recipe.metric} needs clips of the reference"
        held = ", ".join(self.moments)
        return f"the reference has statistics of {held}, and {recipe.score_id} is on {recipe.backbone}"


_FIX = "Pass statistics of that network, or the folder of the reference"


def place_of(ref: str | Path) -> Path:
    """Return the file or folder that a reference names, without which of its statistics is meant."""
    return _split(ref)[0]


def open_foreign(ref: str | Path, trusted: bool = False) -> ForeignStatistics | None:
    """Return others' statistics behind a path, or None where it is something else.

    Parameters
    ----------
    ref
        An ``.npz``, a folder with ``mu.npy`` and ``cov.npy``, or a folder of such folders; with ``::NAME`` behind it,
        that network's statistics alone.
    trusted
        Whether the user vouches for what the file does not say.

    Raises
    ------
    DataError
        An archive without statistics that are known here, or one that cannot be read.
    UsageError
        A name that is not in it.
    """
    path, name = _split(ref)
    layout, moments = held_by(path)
    if name is None and layout == FOLDER and moments and holds_audio(path):
        return None  # a folder of clips, whatever else lies in it
    if not moments:
        if name is not None:
            raise UsageError(f"holds no statistics to choose {name!r} from", where=printable(path), fix="Leave it out")
        return None
    if name is not None and name not in moments:
        if "" in moments:
            raise UsageError(
                f"does not name its network, {name!r} or another", where=printable(path), fix="Leave it out"
            )
        raise unknown_name("network in this reference", name, [*moments])
    chosen = moments if name is None else {name: moments[name]}
    return ForeignStatistics(ref, path, layout, chosen, trusted)


def _split(ref: str | Path) -> tuple[Path, str | None]:
    """Return the path and the name behind it; a path that exists as it stands has none."""
    whole = as_path(ref)
    head, separator, name = str(whole).rpartition(SEPARATOR)
    if not separator or whole.exists() or not Path(head).exists():
        return whole, None
    return Path(head), name
