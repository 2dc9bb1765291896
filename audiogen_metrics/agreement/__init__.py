"""Does a metric agree with people: correlations of scores with ratings, of systems and of clips."""

from audiogen_metrics.agreement.result import Agreement, AgreementDifference, Correlation
from audiogen_metrics.agreement.running import correlate

__all__ = ["Agreement", "AgreementDifference", "Correlation", "correlate"]
