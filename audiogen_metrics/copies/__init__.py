"""Did the generator copy its training data: the nearest training clip of every generated one, and what is too near."""

from audiogen_metrics.copies.calibration import Threshold
from audiogen_metrics.copies.finding import find_copies
from audiogen_metrics.copies.result import ClipMatches, Copies, Match

__all__ = ["ClipMatches", "Copies", "Match", "Threshold", "find_copies"]
