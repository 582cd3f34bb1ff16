"""which compound is the worst: shared by every index"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def worst(names: Sequence[str], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The highest value over the compounds and whose it is.

    Args:
        names: the compounds, one for each row.
        values: float64, shape (compounds, ...); NaN = that compound has none.

    Returns:
        (highest, dominant): float64 with NaN and object array of names with None where no compound has a value.
    """
    filled = np.where(np.isnan(values), -np.inf, values)
    highest = filled.max(axis=0)
    nothing = np.isneginf(highest)
    dominant = np.array(names, object)[filled.argmax(axis=0)]
    dominant[nothing] = None
    return np.where(nothing, np.nan, highest), dominant
