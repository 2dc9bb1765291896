"""Whether the clips of a plan can be used, before hours of work depend on them."""

from __future__ import annotations

from audiogen_metrics.benchmark.plans import Plan
from audiogen_metrics.datasets.checking import check
from audiogen_metrics.errors import DataError


def check_clips(plan: Plan, dataset: str, *, trains: bool, progress: bool = False) -> None:
    """Decode the evaluation clips of a dataset, and those that train, once; the plan is told how long they are.

    Parameters
    ----------
    plan, dataset
        Whose clips.
    trains
        Whether training clips are used.
    progress
        Show a progress bar on stderr.

    Raises
    ------
    DataError
        One cannot be decoded, or is too short to train.
    """
    evaluation = plan.splits[dataset].evaluation
    training = plan.training(dataset) if trains else []
    found = check(evaluation.only([*evaluation.clips, *training]), progress=progress)
    faults = {name: error.what for name, error in found.errors.items()}
    if trains:
        from audiogen_metrics.audioldm.latents import SHORTEST

        short = [clip.clip_id for clip in training if found.seconds.get(clip.clip_id, SHORTEST) < SHORTEST]
        faults |= dict.fromkeys(short, f"lasts less than {SHORTEST} s")
    for kind, clips, way in (
        ("evaluation", evaluation.clips, "leave it out by a list of clips"),
        ("training", training, "delete it: a training clip without audio does not train"),
    ):
        bad = [clip.clip_id for clip in clips if clip.clip_id in faults]
        if bad:
            fix = found.errors[bad[0]].remedy if bad[0] in found.errors else ""
            raise DataError(
                f"{len(bad)} {kind} clip{'s' * (len(bad) > 1)} cannot be used: {bad[0]} ({faults[bad[0]]})",
                where=dataset,
                fix=f"{fix or f'Repair it, or {way}'}. Then run this again: what is done is kept",
            )
    plan.seconds(dataset, found.seconds)
