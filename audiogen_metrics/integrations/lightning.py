"""Scores in a training by Lightning, as ``lightning`` or as ``pytorch_lightning``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiogen_metrics.errors import MissingDependencyError
from audiogen_metrics.integrations.periodic import CHECKPOINT, Outcome, PeriodicEvaluation

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    try:  # the package that the script uses; a Trainer takes callbacks of either
        if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
            from pytorch_lightning import Callback
        else:
            from lightning.pytorch import Callback
    except ImportError as error:
        try:
            from pytorch_lightning import Callback
        except ImportError:
            fix = "Install it: pip install 'lightning>=2.5'"
            raise MissingDependencyError(f"Lightning cannot be imported ({error})", fix=fix) from error

__all__ = ["ScoreCallback"]


class ScoreCallback(Callback):
    """Evaluate every so many steps, log the scores to all loggers, and keep a checkpoint of the best step.

    ``ModelCheckpoint`` and ``EarlyStopping`` can monitor the scores by their logged names.

    Parameters
    ----------
    evaluation
        What to evaluate, and when.
    prefix
        Prefix of the logged names.
    save
        Whether to keep a checkpoint of the best step.
    """

    def __init__(self, evaluation: PeriodicEvaluation, prefix: str = "eval/", save: bool = True) -> None:
        self.evaluation: PeriodicEvaluation = evaluation
        self.prefix: str = prefix
        self.save: bool = save
        self.last: Outcome | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin where the training begins or continues."""
        self.evaluation.start(trainer.global_step)
        for other in trainer.callbacks:  # type: ignore[attr-defined]
            if getattr(other, "strict", False) and str(getattr(other, "monitor", "")).startswith(self.prefix):
                warnings.warn(
                    f"{type(other).__name__} stops the training in an epoch without an evaluation: pass strict=False",
                    stacklevel=2,
                )

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Evaluate if it is time."""

        def save(folder: Path) -> None:
            trainer.save_checkpoint(folder / f"{CHECKPOINT}.ckpt")

        outcome = self.evaluation.at(trainer.global_step, pl_module, save if self.save else None)
        if outcome is None:
            return
        self.last, scalars = outcome, outcome.scalars(self.prefix)
        if scalars:
            # Lightning's own way to the loggers writes at every log_every_n_steps only, and in float32.
            pl_module.log_dict(scalars, on_step=True, on_epoch=False, logger=False, batch_size=1)
            for logger in trainer.loggers:
                logger.log_metrics(scalars, step=outcome.step)
