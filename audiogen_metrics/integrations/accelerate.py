"""Scores in your own training loop with accelerate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audiogen_metrics.integrations.periodic import Outcome, PeriodicEvaluation

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

__all__ = ["LoopScores"]


class LoopScores:
    """Evaluate every so many steps, log the scores to the accelerator's trackers, and keep the best state.

    Parameters
    ----------
    evaluation
        What to evaluate, and when.
    accelerator
        Accelerator of the loop.
    prefix
        Prefix of the logged names.
    save
        Whether to keep the state of the best step, as ``accelerator.save_state`` writes it.
    step
        Step at which the training continues.
    """

    def __init__(
        self,
        evaluation: PeriodicEvaluation,
        accelerator: Accelerator,
        prefix: str = "eval/",
        save: bool = True,
        step: int = 0,
    ) -> None:
        self.evaluation: PeriodicEvaluation = evaluation
        self.prefix: str = prefix
        self.save: bool = save
        self.accelerator: Accelerator = accelerator
        evaluation.start(step)

    def after(self, step: int, model: torch.nn.Module) -> Outcome | None:
        """Evaluate if it is time; all processes call this after each step of the optimizer.

        Parameters
        ----------
        step
            Number of steps that are done.
        model
            Model that trains, prepared or not.
        """

        def save(folder: Path) -> None:
            self.accelerator.save_state(str(folder))

        outcome = self.evaluation.at(step, model, save if self.save else None)
        if outcome is not None and (scalars := outcome.scalars(self.prefix)):
            self.accelerator.log(scalars, step=step)
        return outcome
