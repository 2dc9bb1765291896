"""Find copies of training clips: the nearest training clip of every generated clip, and which are too near."""

from audiogen_metrics.copies.calibration import Threshold
from audiogen_metrics.copies.finding import find_copies
from audiogen_metrics.copies.result import ClipMatches, Copies, Match

__all__ = ["ClipMatches", "Copies", "Match", "Threshold", "find_copies"]
