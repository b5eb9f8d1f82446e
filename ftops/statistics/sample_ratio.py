"""Whether the arms may be compared at all: did the units come as weighted, and do they answer alike?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ftops.statistics.effects import proportions, ratio

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def srm(counts: Mapping[str, int], weights: Mapping[str, float]) -> float | None:
    """The p-value of the units' split under the weights (sample-ratio mismatch: Fabijan et al. 2019), by Pearson's chi-square
    (1900).

    An arm of weight 0 has no part in the degrees of freedom, and a unit in it is impossible: 0. None where there are no
    units, or fewer than two arms that could get some.
    """
    from scipy.special import chdtrc

    expected = {arm: weight for arm, weight in weights.items() if weight > 0}
    if any(count > 0 for arm, count in counts.items() if arm not in expected):
        return 0.0
    units, whole = sum(counts.values()), sum(expected.values())
    if units == 0 or len(expected) < 2:
        return None
    statistic = 0.0
    for arm, weight in expected.items():
        due = units * weight / whole
        statistic += (counts.get(arm, 0) - due) ** 2 / due
    return float(chdtrc(len(expected) - 1, statistic))


def response(
    arm_answers: ArrayLike, arm_rows: ArrayLike, base_answers: ArrayLike, base_rows: ArrayLike
) -> float | None:
    """The p-value of two arms answering the same share of their rows, by the delta method (Deng, Knoblich and Lu 2018).

    Each array has one value a unit: its rows with an answer, and its rows. None where undefined.
    """
    import numpy as np

    effect = ratio(arm_answers, arm_rows, base_answers, base_rows)
    if effect.p_value is not None or effect.se != 0 or effect.estimate == 0:
        return effect.p_value
    # No unit differs from another in its arm, but the arms differ: counted as units, since there is no variance to go by.
    arm_n, base_n = len(np.asarray(arm_rows)), len(np.asarray(base_rows))
    arm_share, base_share = _share(arm_answers, arm_rows), _share(base_answers, base_rows)
    return proportions(arm_n, arm_share * arm_n, base_n, base_share * base_n).p_value


def _share(answers: ArrayLike, rows: ArrayLike) -> float:
    import numpy as np

    return float(np.sum(answers)) / float(np.sum(rows))
