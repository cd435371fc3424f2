"""Agents of different sizes as one team of equal ones."""

from collections.abc import Sequence

import numpy as np


def pad(observations: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Vectors of at most `length`, one per agent, with zeros behind them: `[n, length]`."""
    padded = np.zeros((len(observations), length), np.float32)
    for row, own in zip(padded, observations, strict=True):
        row[: len(own)] = own
    return padded


def possible(actions: Sequence[int]) -> np.ndarray:
    """Which of the most actions that any agent has each one has: Boolean `[n, A]`."""
    return np.arange(max(actions)) < np.array(actions)[:, None]
