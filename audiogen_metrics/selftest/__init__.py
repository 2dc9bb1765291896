"""Check this installation: compute known answers again and compare them with published values."""

from audiogen_metrics.selftest.running import TOLERANCE, Found, NotRun, Selftest, selftest

__all__ = ["TOLERANCE", "Found", "NotRun", "Selftest", "selftest"]
