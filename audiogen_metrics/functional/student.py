"""Quantiles of Student's t distribution without scipy.stats, whose import would take a quarter of a warm run."""

from __future__ import annotations

import math

LEAST = 1e-15
"""Smallest tail for which quantiles are computed."""

MANY = 10_000
"""Degrees of freedom from which on quantiles are those of the normal distribution and a correction."""

_TINY = 1e-300  # stands for 0 in a continued fraction


def student_quantile(probability: float, freedom: float) -> float:
    """Return the t below which a share of Student's distribution lies.

    Parameters
    ----------
    probability
        float • more than 1e-15, less than 1 − 1e-15: the share.
    freedom
        float • more than 0: degrees of freedom, not necessarily whole; infinity gives the normal distribution.

    Returns
    -------
    float
        The quantile, to 1e-12 of its value, or to 1e-14 if the share is within 0.01 of one half. NaN if the degrees of
        freedom are NaN, as for errors that are NaN.

    Raises
    ------
    ValueError
        A parameter out of its range.

    References
    ----------
    W. J. Lentz, "Generating Bessel functions in Mie scattering calculations using continued fractions", Applied Optics
    15 (1976); R. A. Fisher and E. A. Cornish, "The percentile points of distributions having known cumulants",
    Technometrics 2 (1960).

    Examples
    --------
    >>> round(student_quantile(0.975, 11), 6), round(student_quantile(0.975, float("inf")), 6)
    (2.200985, 1.959964)
    """
    if math.isnan(freedom):
        return math.nan
    tail = min(probability, 1 - probability)
    if not (tail > LEAST and freedom > 0):
        raise ValueError(f"there is no quantile at {probability} with {freedom} degrees of freedom")
    upper = 0.0 if tail == 0.5 else _upper_quantile(tail, freedom if freedom < MANY else math.inf)
    if MANY <= freedom < math.inf:
        upper = _corrected(upper, freedom)
    return upper if probability > 0.5 else -upper


def _upper_quantile(tail: float, freedom: float) -> float:
    """Return the t > 0 above which lies a share of less than one half: Newton's method on logarithms of both."""
    place = 0.0
    for _ in range(1000):
        t = math.exp(place)
        found, density = _tail(t, freedom)
        step = math.log(found / tail) * found / (t * density)
        # The tail is log-concave in log t, so that bounded steps come near, and the last ones converge.
        place += max(-1.0, min(1.0, step))
        if abs(step) < 1e-14:
            break
    return math.exp(place)


def _tail(t: float, freedom: float) -> tuple[float, float]:
    """Return the share of the distribution above t > 0, and its density there."""
    square = t * t
    if freedom == math.inf:
        return math.erfc(t / math.sqrt(2)) / 2, math.exp(-square / 2) / math.sqrt(2 * math.pi)
    density = math.exp(-(freedom + 1) / 2 * math.log1p(square / freedom)) * _gamma_ratio(freedom / 2)
    density /= math.sqrt(math.pi * freedom)
    # Either the incomplete beta function or its complement has a continued fraction that converges quickly.
    if square > 3:
        return density * t * _fraction(freedom / (freedom + square), freedom / 2, 0.5) / freedom, density
    return 0.5 - density * t * _fraction(square / (freedom + square), 0.5, freedom / 2), density


def _gamma_ratio(z: float) -> float:
    """Return Γ(z + 1/2) / Γ(z), by its asymptotic series, which logarithms of Γ would spoil for large z."""
    factor = 1.0
    while z < 20:
        factor *= z / (z + 0.5)
        z += 1
    inverse = 1 / (z * z)
    series = -1 / 8 + inverse * (1 / 192 + inverse * (-1 / 640 + inverse * (17 / 14_336 - inverse * 31 / 18_432)))
    return factor * math.sqrt(z) * math.exp(series / z)


def _fraction(x: float, a: float, b: float) -> float:
    """Return the continued fraction of the incomplete beta function, by Lentz's method."""
    above, below, m = 1.0, 1 / (1 - (a + b) * x / (a + 1) or _TINY), 0
    found, change = below, 0.0
    while abs(change - 1) > 1e-15:
        m += 1
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            below = 1 / (1 + term * below or _TINY)
            above = 1 + term / above or _TINY
            change = above * below
            found *= change
    return found


def _corrected(z: float, freedom: float) -> float:
    """Return Student's quantile for many degrees of freedom from the normal one: Cornish and Fisher's expansion."""
    s = z * z
    terms = (
        (s + 1) / 4,
        ((5 * s + 16) * s + 3) / 96,
        (((3 * s + 19) * s + 17) * s - 15) / 384,
        ((((79 * s + 776) * s + 1482) * s - 1920) * s - 945) / 92_160,
    )
    return z + z * sum(term / freedom**power for power, term in enumerate(terms, 1))
