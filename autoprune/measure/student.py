"""Quantiles of Student's t distribution for whole degrees of freedom, without scipy, which is slow to import."""

from __future__ import annotations

import math
import statistics
from functools import cache

HALVINGS = 60
"""How often the interval of the angle is halved; what is left is smaller than the last digit of a float."""


@cache
def student_quantile(share: float, freedom: float) -> float:
    """The quantile of a share above 0 and below 1.

    For whole degrees of freedom, the distribution function is a finite sum in the angle arctan(t / √freedom)
    (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4); bisection finds the angle. For infinite freedom, the quantile is that
    of the normal distribution.
    """
    if math.isinf(freedom):
        return statistics.NormalDist().inv_cdf(share)
    least, most = 0.0, math.pi / 2
    for _ in range(HALVINGS):
        angle = (least + most) / 2
        least, most = (angle, most) if _within(angle, int(freedom)) < abs(2 * share - 1) else (least, angle)
    return math.copysign(math.sqrt(freedom) * math.tan(least), share - 0.5)


def _within(angle: float, freedom: int) -> float:
    """The probability that |t| is below √freedom * tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0) * (freedom > 1), 0.0
    for step in range(1 + odd, freedom, 2):
        total += term
        term *= cosine**2 * step / (step + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
