"""Is this installation right? Known answers, computed anew and compared with what others have published."""

from audiogen_metrics.selftest.running import TOLERANCE, Found, NotRun, Selftest, selftest

__all__ = ["TOLERANCE", "Found", "NotRun", "Selftest", "selftest"]
