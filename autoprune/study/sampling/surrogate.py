"""A surrogate: predicts what looks would show, from those that were taken, so that only the most promising are taken.

It is a Gaussian process (Rasmussen & Williams 2006, "Gaussian Processes for Machine Learning"). Its kernel adds one
kernel for each parameter, which learns what that parameter costs whatever the others are, and their product, which
learns how they act together (Duvenaud, Nickisch & Rasmussen 2011, "Additive Gaussian Processes"). So a few dozen looks
tell much about a space of ten parameters. It also evens out the luck of single looks.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autoprune.recipes.domain import Domain

Array = np.ndarray[Any, np.dtype[np.float64]]

MOST = 300
"""It learns from so many looks, the latest: the time that it takes grows with the cube of their number."""

LENGTHS, TOGETHER, NOISES = (0.2, 0.4, 0.8), (0.0, 0.3, 1.0), (0.003, 0.03, 0.2)
"""What is tried for each target: how far a value reaches, as a share of its range; the share of the variance that
parameters explain together rather than each alone; and the variance of the noise, relative to that of the target."""

LEAST = 1e-8
"""A variance or a deviation is at least so large, so that equal looks do no harm."""

DIGITS = 9
"""Predictions have so many decimal places, so that the last digits of a processor decide nothing."""

APART = 1.2
"""How far apart two options of a parameter are, in lengths."""


class Surrogate:
    """Predicts several targets of recipes.

    Args:
        domains: the open values.
    """

    def __init__(self, domains: Sequence[Domain]) -> None:
        self._domains = domains
        self._points = np.empty((0, 2 * len(domains)))
        self._kernels = {length: (np.empty((0, 0)), np.empty((0, 0))) for length in LENGTHS}  # between the points
        self._settings: list[tuple[float, float, float]] = []  # length, share together and noise, for each target
        self._learned = self._fitted_to = 0  # looks
        self._inverse: list[Array] = []  # of the kernel with noise, for each target
        self._weights: list[Array] = []  # of the looks in a prediction
        self._mean, self._deviation = np.empty(0), np.empty(0)

    def learn(self, used: Sequence[Mapping[str, Any]], targets: Sequence[Sequence[float]]) -> None:
        """Learns from looks, in addition to earlier ones; their targets are replaced.

        Args:
            used: of each new look, the values of those parameters that its recipe uses.
            targets: of every look so far, or of the latest `MOST`; finite numbers.
        """
        if used:
            self._add(self._encoded(used))
        known = np.asarray(targets[-len(self._points) :], dtype=float)
        self._mean, self._deviation = known.mean(axis=0), known.std(axis=0) + LEAST
        scaled = (known - self._mean) / self._deviation
        self._learned += len(used)
        if self._learned >= min(2 * self._fitted_to, self._fitted_to + MOST):  # rarely, as it is most of the work
            self._fitted_to = self._learned
            self._settings = [self._best_settings(target) for target in scaled.T]
        noisy = [_noisy(_mixed(self._kernels[length], together), noise) for length, together, noise in self._settings]
        self._inverse = [np.asarray(np.linalg.inv(kernel), dtype=float) for kernel in noisy]
        self._weights = [inverse @ target for inverse, target in zip(self._inverse, scaled.T, strict=True)]

    def predict(self, used: Sequence[Mapping[str, Any]]) -> tuple[Array, Array]:
        """The expected targets of recipes, and their standard errors without the noise; [recipes, targets] each."""
        points = self._encoded(used)
        between = {length: self._between(points, length) for length in {length for length, _, _ in self._settings}}
        kernels = [_mixed(between[length], together) for length, together, _ in self._settings]
        expected = [kernel @ weights for kernel, weights in zip(kernels, self._weights, strict=True)]
        explained = [
            np.einsum("ij,ij->i", kernel @ inverse, kernel)
            for kernel, inverse in zip(kernels, self._inverse, strict=True)
        ]
        errors = np.sqrt(np.maximum(0.0, 1.0 - np.stack(explained, axis=1))) * self._deviation
        return (np.stack(expected, axis=1) * self._deviation + self._mean).round(DIGITS), errors.round(DIGITS)

    def _add(self, points: Array) -> None:
        """Adds points, and forgets the oldest beyond `MOST`."""
        self._points = np.concatenate([self._points, points])
        for length, kernels in self._kernels.items():
            new = self._between(points, length)
            self._kernels[length] = _grown(kernels[0], new[0]), _grown(kernels[1], new[1])
        self._points = self._points[-MOST:]

    def _best_settings(self, target: Array) -> tuple[float, float, float]:
        """The settings under which the looks were most likely."""
        tried = itertools.product(LENGTHS, TOGETHER, NOISES)
        return max(tried, key=lambda one: _likelihood(_noisy(_mixed(self._kernels[one[0]], one[1]), one[2]), target))

    def _encoded(self, used: Sequence[Mapping[str, Any]]) -> Array:
        """For each parameter, its value from 0 to 1 or the number of its option, and whether it is used."""
        return np.array([[number for domain in self._domains for number in _place(domain, one)] for one in used])

    def _between(self, points: Array, length: float) -> tuple[Array, Array]:
        """The mean of the kernels of all parameters, and their product; between `points` and the looks."""
        total, together = np.zeros((len(points), len(self._points))), np.zeros((len(points), len(self._points)))
        for at, domain in enumerate(self._domains):
            value, is_used = np.abs(points[:, None, 2 * at : 2 * at + 2] - self._points[None, :, 2 * at : 2 * at + 2]).T
            steps = np.where(value > 0, APART, 0.0) if domain.options else value / length
            exponent = -0.5 * (steps**2 + (APART * is_used) ** 2).T
            total += np.exp(exponent)
            together += exponent
        return total / max(1, len(self._domains)), np.exp(together)


def _place(domain: Domain, used: Mapping[str, Any]) -> tuple[float, float]:
    if domain.path not in used:
        return 0.0, 0.0
    value = used[domain.path]
    if domain.options:
        return float(domain.options.index(value)), 1.0
    low, high, value = np.log((domain.low, domain.high, value)) if domain.log else (domain.low, domain.high, value)
    return float((value - low) / (high - low)) if high > low else 0.0, 1.0


def _mixed(kernels: tuple[Array, Array], together: float) -> Array:
    return (1 - together) * kernels[0] + together * kernels[1]


def _noisy(kernel: Array, noise: float) -> Array:
    return kernel + (noise + LEAST) * np.eye(len(kernel))


def _grown(kernel: Array, new: Array) -> Array:
    """The kernel between old and new points, from that of the old and that of the new with all; the last `MOST`."""
    old = len(kernel)
    grown: Array = np.block([[kernel, new[:, :old].T], [new]])[-MOST:, -MOST:]
    return grown


def _likelihood(kernel: Array, target: Array) -> float:
    """The logarithm of the likelihood of a target, up to a constant."""
    factor = np.linalg.cholesky(kernel)
    half = np.linalg.solve(factor, target)
    return float(-0.5 * half @ half - np.log(np.diag(factor)).sum())
