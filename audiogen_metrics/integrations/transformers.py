"""Scores in a training by transformers' ``Trainer``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiogen_metrics.backbones.transformers import quiet
from audiogen_metrics.errors import MissingDependencyError
from audiogen_metrics.integrations.periodic import Outcome, PeriodicEvaluation

__all__ = ["ScoreCallback"]

try:
    with quiet():
        from transformers.trainer_callback import TrainerCallback
except ImportError as error:
    fix = "Install it: pip install 'transformers>=5' accelerate"
    raise MissingDependencyError(f"transformers cannot be imported ({error})", fix=fix) from error

if TYPE_CHECKING:
    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments


class ScoreCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]  # transformers may have no types
    """Evaluate every so many steps, log the scores as the trainer logs, and keep the model of the best step.

    Parameters
    ----------
    evaluation
        What to evaluate, and when.
    trainer
        Trainer to which the callback is added: ``trainer.add_callback(ScoreCallback(evaluation, trainer))``.
    prefix
        Prefix of the logged names; the trainer shows ``eval_`` as ``eval/`` in TensorBoard and wandb.
    save
        Whether to keep the model of the best step, as ``trainer.save_model`` writes it.
    """

    def __init__(
        self, evaluation: PeriodicEvaluation, trainer: Trainer, prefix: str = "eval_", save: bool = True
    ) -> None:
        self.evaluation: PeriodicEvaluation = evaluation
        self.prefix: str = prefix
        self.save: bool = save
        self.last: Outcome | None = None
        self._trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin where the training begins or continues."""
        self.evaluation.start(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Evaluate if it is time."""

        def save(folder: Path) -> None:
            self._trainer.save_model(str(folder))

        outcome = self.evaluation.at(state.global_step, kwargs["model"], save if self.save else None)
        if outcome is None:
            return
        self.last, scalars = outcome, outcome.scalars(self.prefix)
        if scalars:
            due = control.should_log
            self._trainer.log(scalars)
            control.should_log = due  # logging takes it back, and the loss of this step is still to be logged
