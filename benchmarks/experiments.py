"""How often experiments err: false alarms by looking, power, intervals, rows of the same users, ratings that are missing.

python benchmarks/experiments.py [--quick] [--only PART]

Everything is simulated from a seed and judged by ftops's own functions. Prints the tables that docs/explanation/experiments.md shows.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from measure import ROOT, goal
from scipy.special import ndtr, ndtri

sys.path.insert(0, str(ROOT))

from ftops.experiments.analysis import InterimResult, analyze, wanted
from ftops.experiments.analysis.stopping_rule import StoppingRule, may_decide
from ftops.experiments.logs.files import LogFile
from ftops.experiments.logs.read_files import read
from ftops.experiments.metric_types.rating import STARS
from ftops.experiments.simulation import Situation, simulate
from ftops.experiments.spec.design import Design
from ftops.experiments.spec.experiment import Experiment
from ftops.statistics.bayes import chance_better
from ftops.statistics.cuped import adjust
from ftops.statistics.effects import Effect, proportions, ratio, relative, welch
from ftops.statistics.power import detectable
from ftops.statistics.rank_tests import quantile_intervals
from ftops.statistics.sample import Sample, share_interval

ALPHA = 0.05
TARGET = 560  # units an arm: looks at 1/5, 1/14 and 1/28 of it are whole units
LOOKS = (1, 5, 14, 28)
SEED = 20260105


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the trials: the figures say little")
    parser.add_argument("--only", choices=PARTS, help="one part")
    options = parser.parse_args()
    for name, part in PARTS.items():
        if options.only in (None, name):
            began = time.perf_counter()
            part(50 if options.quick else 1)
            print(f"\n<!-- {time.perf_counter() - began:.0f} s -->\n", flush=True)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print()
    for row in (headings, ["---"] * len(headings), *rows):
        print(f"| {' | '.join(row)} |")


def share(hits: int, trials: int) -> str:
    """A share with its standard error."""
    found = hits / trials
    return f"{found:.1%} ± {math.sqrt(found * (1 - found) / trials):.1%}"


# ------------------------------------------------------------------------------------------ looking often


Trial = dict[int, Effect]
"""The effect by the units that each arm had when one looked."""
Stop = Callable[[Trial], int | None]
"""The units at which an effect is found; None where it never is."""


def ratings(rng: np.random.Generator, shape: tuple[int, ...], shift: float = 0.0) -> np.ndarray:
    """One rating of each unit, as `ftops experiment simulate` makes them."""
    return np.searchsorted(STARS, rng.standard_normal(shape) + shift) + 1.0


def shift_for(d: float) -> float:
    """How far satisfaction must move for a difference of `d` standard deviations between ratings, exactly."""

    def moments(shift: float) -> tuple[float, float]:
        below = np.concatenate([[0.0], ndtr(np.array(STARS) - shift), [1.0]])
        stars, weights = np.arange(1, 6), np.diff(below)
        mean = float(stars @ weights)
        return mean, float(((stars - mean) ** 2) @ weights)

    mean, variance = moments(0.0)
    low, high = 0.0, 4.0
    for _ in range(60):
        middle = (low + high) / 2
        there, spread = moments(middle)
        low, high = (middle, high) if (there - mean) / math.sqrt((spread + variance) / 2) < d else (low, middle)
    return low


def trials(rng: np.random.Generator, count: int, sizes: Sequence[int], shift: float) -> Iterator[Trial]:
    """For each trial the effect when each arm had so many units."""
    for _ in range(count):
        arm, base = ratings(rng, (TARGET,), shift), ratings(rng, (TARGET,))
        sums = [(each.cumsum(), (each**2).cumsum()) for each in (arm, base)]
        yield {n: welch(*(sample(n, *each) for each in sums)) for n in sizes}


def sample(n: int, total: np.ndarray, squares: np.ndarray) -> Sample:
    mean = float(total[n - 1]) / n
    return Sample(n, mean, (float(squares[n - 1]) - n * mean * mean) / (n - 1))


def sizes_of(looks: int) -> list[int]:
    """The units an arm at looks at equal parts of the target."""
    return [TARGET * look // looks for look in range(1, looks + 1)]


def lookings(rule: str, looks: int) -> list[tuple[int, StoppingRule]]:
    """Such looks, each with those before it."""
    design = Design(target_samples=TARGET, rule=rule, alpha=ALPHA)
    sizes = sizes_of(looks)
    fractions = [n / TARGET for n in sizes]
    return [(n, StoppingRule(design, 2, n / TARGET, tuple(fractions[:place]))) for place, n in enumerate(sizes)]


def by_rule(rule: str, looks: int) -> Stop:
    """The units at which a rule of ftops finds an effect in a trial; None where it does not."""
    plan = [
        # The level of the boundary depends on the looks alone, and takes long to integrate: once for all trials.
        (n, looking, looking.level() if rule != "always-valid" else None)
        for n, looking in lookings(rule, looks)
        if may_decide(looking.design, looking.fraction, n)
    ]

    def stop(trial: Trial) -> int | None:
        for n, looking, level in plan:
            effect = trial[n]
            p = effect.p_value
            if p is not None and p < (looking.level(effect) if level is None else level):
                return n
        return None

    return stop


def naive(looks: int) -> Stop:
    sizes = sizes_of(looks)
    return lambda trial: next((n for n in sizes if (trial[n].p_value or 1.0) < ALPHA), None)


def flat_prior(looks: int) -> Stop:
    sizes = sizes_of(looks)

    def stop(trial: Trial) -> int | None:
        for n in sizes:
            chance = chance_better(trial[n].estimate, trial[n].se)
            if chance is not None and not 0.05 <= chance <= 0.95:
                return n
        return None

    return stop


RULES = {
    "`fixed`: one look, at the target": lambda looks: by_rule("fixed", looks),
    "`obrien-fleming`": lambda looks: by_rule("obrien-fleming", looks),
    "`always-valid`": lambda looks: by_rule("always-valid", looks),
    "p < 0.05 at any look": naive,
    "flat prior, one arm better with 95 %": flat_prior,
}
SOUND = tuple(RULES)[:3]


def peeking(divisor: int) -> None:
    count = 20_000 // divisor
    rng = np.random.default_rng(SEED)
    sizes = sorted({n for looks in LOOKS for n in sizes_of(looks)})
    stops = {(name, looks): make(looks) for name, make in RULES.items() for looks in LOOKS}
    hits = dict.fromkeys(stops, 0)
    for trial in trials(rng, count, sizes, 0.0):
        for key, stop in stops.items():
            hits[key] += stop(trial) is not None
    print(f"### False alarms: both arms alike, {count:,} experiments of {TARGET} users an arm")
    rows = [[name, *(share(hits[name, looks], count) for looks in LOOKS)] for name in RULES]
    table(["rule", *(f"{looks} look{'s' * (looks > 1)}" for looks in LOOKS)], rows)
    print()
    worst = max(hits[name, looks] for name in SOUND for looks in LOOKS) / count
    error = math.sqrt(ALPHA * (1 - ALPHA) / count)
    print(goal("false alarms of ftops's rules", 100 * worst, round(100 * (ALPHA + 3 * error), 2), "%"))


def power(divisor: int) -> None:
    count, looks = 4000 // divisor, 14
    rng = np.random.default_rng(SEED + 1)
    d = detectable(TARGET, ALPHA, 0.8) or 0.0
    sizes = sizes_of(looks)
    rules = {name: RULES[name](looks) for name in SOUND}
    ends: dict[str, list[int | None]] = {name: [] for name in rules}
    for trial in trials(rng, count, sizes, shift_for(d)):
        for name, stop in rules.items():
            end = stop(trial)
            right = end is not None and (trial[end].estimate or 0.0) > 0
            ends[name].append(end if right else None)
    print(f"### Power at d = {d:.3f}, which {TARGET} users an arm find with 80 %; {looks} looks, {count:,} experiments")
    rows = []
    for name, found in ends.items():
        used = np.mean([TARGET if end is None else end for end in found])
        rows.append([name, share(sum(end is not None for end in found), count), f"{used:.0f} ({used / TARGET:.0%})"])
    table(["rule", "power", "users an arm on average"], rows)


# ------------------------------------------------------------------------------------------------ intervals


Interval = tuple[float, float] | None


def of_means(rng: np.random.Generator) -> bool:
    one, other = ratings(rng, (200,)), ratings(rng, (150,))
    return holds(welch(Sample.of(one), Sample.of(other)).interval(ALPHA), 0.0)


def of_skewed_means(rng: np.random.Generator) -> bool:
    one, other = rng.lognormal(0.3, 1, 300), rng.lognormal(0, 1, 300)
    truth = math.exp(0.8) - math.exp(0.5)
    return holds(welch(Sample.of(one), Sample.of(other)).interval(ALPHA), truth)


def of_relative(rng: np.random.Generator) -> bool:
    one, other = Sample.of(rng.normal(11, 4, 200)), Sample.of(rng.normal(10, 4, 200))
    return holds(relative(welch(one, other), one, other, ALPHA)[1], 0.1)


def of_shares(rng: np.random.Generator) -> bool:
    one, other = int(rng.binomial(400, 0.13)), int(rng.binomial(300, 0.1))
    return holds(proportions(400, one, 300, other).interval(ALPHA), 0.03)


def of_one_share(rng: np.random.Generator) -> bool:
    return holds(share_interval(int(rng.binomial(100, 0.04)), 100, ALPHA), 0.04)


def of_ratios(rng: np.random.Generator) -> bool:
    """Clicks of shown links: busy users click less often, so a mean of the users' own shares would be wrong."""
    parts = []
    for chance in (0.34, 0.3):
        shown = 1 + rng.poisson(rng.gamma(2, 2, 250))
        parts += [rng.binomial(shown, np.clip(chance * (1.2 - 0.02 * shown), 0, 1)), shown]
    truth = (0.34 - 0.3) * SHOWN
    return holds(ratio(*parts).interval(ALPHA), truth)


# E[shown (1.2 - 0.02 shown)] / E[shown], where shown - 1 is Poisson with a mean that is gamma(2, 2): mean 4, variance 12
SHOWN = (1.2 * 5 - 0.02 * (12 + 25)) / 5


def of_durations(rng: np.random.Generator) -> bool:
    """The ratio of geometric means, by user."""
    samples = []
    for centre in (math.log(900), math.log(800)):
        whose = np.repeat(np.arange(200), 1 + rng.geometric(0.3, 200))
        logs = centre + 0.4 * rng.standard_normal(200)[whose] + 0.5 * rng.standard_normal(len(whose))
        samples.append(Sample.of(np.bincount(whose, logs) / np.bincount(whose)))
    interval = welch(*samples).interval(ALPHA)
    return interval is not None and math.exp(interval[0]) <= 900 / 800 <= math.exp(interval[1])


def of_quantiles(rng: np.random.Generator) -> bool:
    """The 90th percentile of rows, 3 of 10 parts of whose variance are the user's."""
    whose = np.repeat(np.arange(300), 1 + rng.geometric(0.25, 300))
    logs = math.sqrt(0.3) * rng.standard_normal(300)[whose] + math.sqrt(0.7) * rng.standard_normal(len(whose))
    found = quantile_intervals(np.exp(logs), whose, (0.9,), ALPHA)
    return found is not None and found[0][1] <= math.exp(float(ndtri(0.9))) <= found[0][2]


def of_adjusted(rng: np.random.Generator) -> bool:
    """CUPED: half of the variance is foretold."""
    arm = np.repeat([0, 1], 150)
    before = rng.standard_normal(300)
    after, _ = adjust(0.2 * arm + before + rng.standard_normal(300), before, arm)
    return holds(welch(Sample.of(after[arm == 1]), Sample.of(after[arm == 0])).interval(ALPHA), 0.2)


def of_all_looks(rule: str, looks: int) -> Callable[[np.random.Generator], bool]:
    """Whether the intervals of all looks hold the truth at once."""
    plan = [(n, looking, looking.level()) for n, looking in lookings(rule, looks) if n >= 30]
    truth = ratings_mean(0.2) - ratings_mean(0.0)

    def cover(rng: np.random.Generator) -> bool:
        (trial,) = trials(rng, 1, [n for n, _, _ in plan], 0.2)
        levels = ((n, looking.level(trial[n]) if rule == "always-valid" else level) for n, looking, level in plan)
        return all(holds(trial[n].interval(level), truth) for n, level in levels if level > 0)

    return cover


def ratings_mean(shift: float) -> float:
    return 5 - float(ndtr(np.array(STARS) - shift).sum())


def holds(interval: Interval, truth: float) -> bool:
    return interval is not None and interval[0] <= truth <= interval[1]


INTERVALS = {
    "Welch, ratings, 200 and 150 users": of_means,
    "Welch, skewed figures (log-normal), 300 users": of_skewed_means,
    "relative effect (Fieller)": of_relative,
    "difference of shares (score), 10 % and 13 %": of_shares,
    "one share (Wilson), 4 of 100": of_one_share,
    "ratio of sums (delta method)": of_ratios,
    "durations, ratio of geometric means": of_durations,
    "90th percentile of rows, by user": of_quantiles,
    "adjusted by a covariate (CUPED)": of_adjusted,
    "`obrien-fleming`, 5 looks at once": of_all_looks("obrien-fleming", 5),
    "`always-valid`, 28 looks at once": of_all_looks("always-valid", 28),
}


def coverage(divisor: int) -> None:
    count = 5000 // divisor
    print(f"### Intervals that hold the truth, of {count:,} each; 95 % are promised")
    rows = []
    for place, (name, cover) in enumerate(INTERVALS.items()):
        rng = np.random.default_rng([SEED, 2, place])
        rows.append([name, share(sum(cover(rng) for _ in range(count)), count)])
    table(["interval", "holds the truth"], rows)


# ---------------------------------------------------------------------------------------------- rows of users


def repeated(divisor: int) -> None:
    count = 2000 // divisor
    print(f"### Rows of the same users: both arms alike, correlation of a user's rows 0.3, {count:,} experiments")
    rows = []
    for place, each in enumerate((2, 4, 10, 40)):
        rng = np.random.default_rng([SEED, 3, place])
        hits = np.zeros(2, int)
        for _ in range(count):
            by_row, by_user = zip(*(one_arm(rng, each) for _ in range(2)), strict=True)
            for test, samples in enumerate((by_row, by_user)):
                hits[test] += (welch(*samples).p_value or 1.0) < ALPHA
        rows.append([str(each), *(share(int(hit), count) for hit in hits)])
    table(["rows a user, on average", "t-test on rows finds an effect", "on users' means, as ftops does"], rows)


def one_arm(rng: np.random.Generator, rows: int) -> tuple[Sample, Sample]:
    """The rows of 200 users, and their means; some users have many more rows than others."""
    whose = np.repeat(np.arange(200), rng.geometric(1 / rows, 200))
    satisfaction = math.sqrt(0.3) * rng.standard_normal(200)[whose] + math.sqrt(0.7) * rng.standard_normal(len(whose))
    stars = np.searchsorted(STARS, satisfaction) + 1.0
    return Sample.of(stars), Sample.of(np.bincount(whose, stars) / np.bincount(whose))


# ------------------------------------------------------------------------------------------------ whole ways


def experiment(rule: str = "obrien-fleming") -> Experiment:
    times = {"name": "response_time_ms", "type": "duration", "direction": "decrease", "margin": 0.05}
    spec = {
        "arms": {
            "a": {"model": "chat@1.0.0", "weight": 0.5, "baseline": True},
            "b": {"model": "chat@1.1.0", "weight": 0.5},
        },
        "metric": {"name": "rating", "type": "rating"},
        "guardrails": [times],
        "design": {"targetSamples": 800, "minimumDetectableEffect": 0.2, "rule": rule},
        "logs": {"path": "logs.jsonl"},
    }
    document = {"apiVersion": "ftops/v1", "kind": "Experiment", "metadata": {"name": "trial"}, "spec": spec}
    return Experiment.model_validate_json(json.dumps(document), by_alias=True, by_name=False)


def looks_at(found: Experiment, situation: Situation, folder: Path, days: Sequence[int]) -> tuple[InterimResult, ...]:
    """Simulated rows, written, read and analysed, as they were at the end of each of these days, until it is decided."""
    import orjson

    logs = folder / "logs.jsonl"
    logs.write_bytes(b"\n".join(map(orjson.dumps, simulate(found, situation))))
    rows = wanted(found)
    start = datetime.fromisoformat(situation.start).timestamp()
    looks: list[InterimResult] = []
    for day in days:
        so_far = replace(rows, until=start + day * 86_400)
        looks.append(analyze(found.spec, read([LogFile.named(logs)], so_far), looks))
        if looks[-1].decided_at is not None:
            break
    return tuple(looks)


def naive_p(look: InterimResult) -> float:
    """What a t-test on the users' means would say, whoever looked before."""
    (primary,) = (each for each in look.comparisons if each.role == "primary")
    return 1.0 if primary.p_value is None else primary.p_value


def missing(divisor: int) -> None:
    count = 150 // divisor or 2
    print(f"### Ratings that are missing: both arms alike, 3 of 10 answers rated, {count:,} experiments of 3,000 users")
    rows = []
    with tempfile.TemporaryDirectory(prefix="ftops-benchmark-") as folder:
        for often in (1.0, 1.5, 2.0):
            found, said = experiment("fixed"), []
            for seed in range(count):
                situation = Situation(units=3000, seed=seed, effect=0, rated=0.3, unhappy=often)
                said.append(looks_at(found, situation, Path(folder), [situation.days])[0])
            wrong = sum(naive_p(look) < ALPHA for look in said)
            invalid = sum(look.verdict == "invalid" for look in said)
            winners = sum(look.verdict == "winner" for look in said)
            rows.append([f"{often:g}", *(share(each, count) for each in (wrong, invalid, winners))])
    table(["bad answers of b are rated so many times as often", "p < 0.05", "ftops: invalid", "ftops: a winner"], rows)


SITUATIONS = {
    "clear win": (Situation(units=2300, effect=0.3), [14], "winner"),
    "no effect": (Situation(units=2300, effect=0), [14], "no-difference"),
    "no effect, looked at every day": (Situation(units=2300, effect=0, seed=3), range(1, 15), "no-difference"),
    "sample-ratio mismatch": (Situation(units=2300, effect=0.3, lost=0.15), [14], "invalid"),
    "ratings missing not at random": (Situation(units=3000, effect=0, rated=0.3, unhappy=2), [14], "invalid"),
    "guardrail broken": (Situation(units=2300, effect=0.3, slower=1.2), [14], "inconclusive"),
}


def situations(divisor: int) -> None:
    del divisor
    print("### Six situations, simulated, logged, read and judged")
    rows = []
    right = 0
    with tempfile.TemporaryDirectory(prefix="ftops-benchmark-") as folder:
        for name, (situation, days, expected) in SITUATIONS.items():
            looks = looks_at(experiment(), situation, Path(folder), days)
            last, lowest = looks[-1], min(map(naive_p, looks))
            right += last.verdict == expected and all(
                look.verdict != "winner" or expected == "winner" for look in looks
            )
            verdict = last.verdict if last.winner is None else f"{last.verdict}: {last.winner}"
            rows.append([name, f"{lowest:.2g}", verdict, last.reasons[0]])
    table(["situation", "lowest p of a t-test", "verdict", "because"], rows)
    print(f"\n{right} of {len(SITUATIONS)} verdicts are right.")
    if right < len(SITUATIONS):
        sys.exit("a verdict is wrong")


PARTS: dict[str, Callable[[int], None]] = {
    "peeking": peeking,
    "power": power,
    "coverage": coverage,
    "repeated": repeated,
    "missing": missing,
    "situations": situations,
}

if __name__ == "__main__":
    main()
