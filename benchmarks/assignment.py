"""How long it takes to say which arm a unit gets: one by one, a million at once, and to import what says it.

python benchmarks/assignment.py [--quick]

Beside it, on the same units: an assignment as PlanOut makes it (sha1 of salt and unit, its first 60 bits) and one by
MurmurHash3 (mmh3), which many flag services use.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
import uuid
from collections.abc import Callable, Sequence

from measure import Command, alternate, goal, heading, median, ratio, row, tell

MICROSECONDS = 5
NANOSECONDS = 200  # five million units a second
SECONDS = 0.05
SCALE = float(0xFFFFFFFFFFFFFFF)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the units, two rounds")
    quick = parser.parse_args().quick
    rounds, count = (2, 100_000) if quick else (7, 1_000_000)
    imports(rounds)  # first: whoever measures processes must stay small
    units = {
        "user-N": [f"user-{number}" for number in range(count)],
        "UUID": [str(uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC834 % 2**128)) for number in range(count)],
        "Korean": [f"사용자-{number}" for number in range(count)],
    }
    one_by_one(units, rounds)
    many(units, rounds)


def imports(rounds: int) -> None:
    commands = {
        "python": Command((sys.executable, "-S", "-c", "pass")),
        "python, ftops.assignment": Command((sys.executable, "-S", "-c", "from ftops.assignment import assign")),
        "python, hashlib": Command((sys.executable, "-S", "-c", "import hashlib")),
    }
    print(heading())
    found = alternate(commands, max(rounds, 5))
    for name, runs in found.items():
        print(row(name, median(runs)))
    bare, ours, peer = found.values()
    print(ratio("import ftops.assignment : hashlib", ours, peer))
    print(goal("import of ftops.assignment", median(ours).wall - median(bare).wall, SECONDS, "s"))


def planout(unit: str) -> str:
    """As PlanOut's WeightedChoice does: salts of namespace and parameter before the unit, 15 hex digits of the sha1."""
    digits = hashlib.sha1(f"chat-v2.arm.{unit}".encode()).hexdigest()[:15]
    return "a" if int(digits, 16) / SCALE < 0.5 else "b"


def murmur(unit: str) -> str:
    import mmh3

    return "a" if mmh3.hash(f"chat-v2{unit}", signed=False) % 10_000 < 5000 else "b"


def one_by_one(units: dict[str, list[str]], rounds: int) -> None:
    from ftops.experiments.assignment import Allocation, Gate, assign

    halves = (("a", 0, 5000), ("b", 5000, 10_000))
    plain = Allocation("chat-v2", halves)
    gated = Allocation("chat-v2", halves, (Gate("chat-v2:coverage", 0, 9000), Gate("chat", 0, 9000)))
    print(f"\n{'microseconds a call':34}{'assign':>10}{'2 gates':>10}{'sha1':>10}{'mmh3':>10}")
    for name, each in units.items():
        some = each[:20_000]
        ours, both, sha1, mmh3 = in_turn(
            [
                lambda some=some: [assign(plain, unit) for unit in some],
                lambda some=some: [assign(gated, unit) for unit in some],
                lambda some=some: [planout(unit) for unit in some],
                lambda some=some: [murmur(unit) for unit in some],
            ],
            rounds,
        )
        scale = 1e6 / len(some)
        print(f"{name:34}{ours * scale:10.2f}{both * scale:10.2f}{sha1 * scale:10.2f}{mmh3 * scale:10.2f}")
        print(f"ratio assign of {name}: to sha1 {ours / sha1:.2f}, to mmh3 {ours / mmh3:.2f}")
        tell(f"assign of {name}", {"to sha1": ours / sha1, "to mmh3": ours / mmh3})
        print(goal(f"assign of {name}", ours * scale, MICROSECONDS, "µs"))


def many(units: dict[str, list[str]], rounds: int) -> None:
    import pyarrow as pa

    from ftops.experiments.assignment import Allocation, assign_many

    allocation = Allocation("chat-v2", (("a", 0, 5000), ("b", 5000, 10_000)))
    print(f"\n{'million units a second':34}{'Arrow':>10}{'list':>10}{'sha1':>10}{'mmh3':>10}")
    for name, each in units.items():
        array, some = pa.array(each), each[: len(each) // 10]
        arrow, listed, sha1, mmh3 = in_turn(
            [
                lambda array=array: assign_many(allocation, array),
                lambda each=each: assign_many(allocation, each),
                lambda some=some: [planout(unit) for unit in some],
                lambda some=some: [murmur(unit) for unit in some],
            ],
            rounds,
        )
        per = (arrow / len(each), listed / len(each), sha1 / len(some), mmh3 / len(some))
        print(f"{name:34}" + "".join(f"{1e-6 / seconds:10.2f}" for seconds in per))
        print(f"ratio assign_many of {name}: time to sha1 {per[0] / per[2]:.3f}, to mmh3 {per[0] / per[3]:.3f}")
        tell(f"assign_many of {name}", {"to sha1": per[0] / per[2], "to mmh3": per[0] / per[3]})
        print(goal(f"assign_many of {name}, Arrow", per[0] * 1e9, NANOSECONDS, "ns a unit"))
        print(goal(f"assign_many of {name}, list", per[1] * 1e9, NANOSECONDS, "ns a unit"))


def in_turn(calls: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """The least seconds of the CPU of each call, called in turn; a first round warms up. The least, because whatever else the
    machine does only adds."""
    found = [float("inf")] * len(calls)
    for number in range(rounds + 1):
        for place, call in enumerate(calls):
            began = time.process_time()
            call()
            if number:
                found[place] = min(found[place], time.process_time() - began)
    return found


if __name__ == "__main__":
    main()
