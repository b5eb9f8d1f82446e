"""Tests, intervals, sample sizes and stopping boundaries: numbers in, numbers out; an undefined figure is None.

`sample` and `effects` compare two arms in their means, shares and ratios, `rank_tests` in ranks and quantiles. `power` says
what a number of units can find, `sequential` how far off 0 is far enough at each look, `sample_ratio` whether the arms may be
compared at all, `corrections` what many comparisons cost. `cuped` takes away what was known before. `bayes` only informs.

A `level` is the error that is borne, both sides together: 0.05 asks for the interval of 95 %. An effect is the arm's
figure minus the baseline's.
"""
