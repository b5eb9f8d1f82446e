"""What a field of a log row may hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """Which numbers a field may hold; null it may hold always. `name` and `expected` are said in errors.

    `fits` judges one number, `fit` a column of them, the same way; NaN stands for null there, and either answer will do.
    `booleans`: true and false may stand there too, for 1 and 0. Two fields hold the same when these are one object.
    """

    name: str
    expected: str
    fits: Callable[[float], bool]
    fit: Callable[[Floats], Mask]
    booleans: bool = False


def _finite(values: Floats) -> Mask:
    import numpy as np

    return np.isfinite(values)


NUMBERS: Final = Values("continuous", "a finite number", math.isfinite, _finite)
"""Any number: of a covariate too, and of the parts of a ratio."""
