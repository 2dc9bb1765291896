"""Scores in a training loop of one's own with accelerate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audiogen_metrics.integrations.periodic import Outcome, PeriodicEvaluation

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

__all__ = ["LoopScores"]


class LoopScores:
    """Evaluates every so many steps, logs the scores to the accelerator's trackers, and keeps the best state.

    Parameters
    ----------
    evaluation
        What to evaluate, and when.
    accelerator
        Of the loop.
    prefix
        Of the logged names.
    save
        Whether to keep the state of the best step, as ``accelerator.save_state`` writes it.
    step
        Where the training goes on.
    """

    def __init__(
        self,
        evaluation: PeriodicEvaluation,
        accelerator: Accelerator,
        prefix: str = "eval/",
        save: bool = True,
        step: int = 0,
    ) -> None:
        self.evaluation, self.accelerator, self.prefix, self.save = evaluation, accelerator, prefix, save
        evaluation.start(step)

    def after(self, step: int, model: torch.nn.Module) -> Outcome | None:
        """Evaluate if it is time; all processes call this after each step of the optimizer.

        Parameters
        ----------
        step
            Steps that are done.
        model
            What trains, prepared or not.
        """

        def save(folder: Path) -> None:
            self.accelerator.save_state(str(folder))

        outcome = self.evaluation.at(step, model, save if self.save else None)
        if outcome is not None and (scalars := outcome.scalars(self.prefix)):
            self.accelerator.log(scalars, step=step)
        return outcome
