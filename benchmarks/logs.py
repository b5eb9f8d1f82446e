"""Log rows of an experiment to a verdict (strict, duplicates dropped, arms audited) beside libraries that check nothing.

python benchmarks/logs.py [--quick] [--rows 1000000,10000000] [--lines 1000000] [--rounds 3]

ftops is `ftops experiment analyze`, whole. The peers take each unit's mean rating, and Welch's t-test of scipy where they are
`scipy`; `json` only parses the lines. Polars where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import ROOT, Command, alternate, environment, goal, heading, median, ratio, row

SECONDS = {"parquet": 6.0, "jsonl": 4.0}
"""For 10 million rows, and for 1 million lines."""
SPEC = """\
apiVersion: ftops/v1
kind: Experiment
metadata: {name: benchmark}
spec:
  arms:
    a: {model: chat@1.0.0, weight: 0.5, baseline: true}
    b: {model: chat@1.1.0, weight: 0.5}
  metric: {name: rating, type: rating}
  guardrails: [{name: response_time_ms, type: duration, direction: decrease, margin: 0.05}]
  design: {targetSamples: 1000}
  logs: {path: logs.jsonl}
"""
MEBIBYTES = 2048
ROWS, LINES = 10_000_000, 1_000_000
GROWTH = 11
STRETCH = 1_000_000
WORDS = "model answer question tuning with the learning rate 한국어 대화 모델 안녕하세요 why how".split()  # noqa: SIM905


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20,000 rows of each, one round")
    parser.add_argument("--rows", default=f"{ROWS // 10},{ROWS}", help="rows of Parquet")
    parser.add_argument("--lines", default=str(LINES), help="lines of JSON")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", nargs=3, metavar=("WHAT", "FILE", "ROWS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        what, file, rows = options.step
        STEPS[what](Path(file), int(rows))
        return
    sizes = {"parquet": options.rows, "jsonl": options.lines}
    if options.quick:
        sizes = {"parquet": "10000,20000", "jsonl": "20000"}
    with tempfile.TemporaryDirectory(prefix="ftops-benchmark-") as folder:
        for kind, counts in sizes.items():
            compare(
                kind, [int(count) for count in counts.split(",")], Path(folder), 1 if options.quick else options.rounds
            )


def compare(kind: str, counts: list[int], folder: Path, rounds: int) -> None:
    """Prints the figures of ftops and its peers for files of a kind, and how ftops's grow."""
    ours = {}
    spec = folder / "benchmark.yaml"
    spec.write_text(SPEC)
    for count in counts:
        file = folder / f"{count}.{kind}"
        subprocess.run(step(f"make {kind}", file, count).argv, env=environment(), check=True)
        peers = ["json"] if kind == "jsonl" else ["scipy"]
        peers += ["polars"] if importlib.util.find_spec("polars") else []
        analyze = ("-m", "ftops", "experiment", "analyze", str(spec), "--logs", str(file))
        commands = {"ftops": Command((sys.executable, *analyze))}
        commands |= {name: step(f"{name} {kind}", file, count) for name in peers}
        print(f"\n{count:,} rows of {kind}, {file.stat().st_size / 2**20:,.0f} MiB; {heading()}")
        runs = alternate(commands, rounds, warm=0)
        found = {name: median(each) for name, each in runs.items()}
        for name, figures in found.items():
            print(row(name, figures) + f"{count / figures.wall:14,.0f} rows/s")
        for name in peers:
            print(ratio(f"ftops : {name} of {count:,} rows of {kind}", runs["ftops"], runs[name]))
        ours[count] = found["ftops"]
        if count == {"parquet": ROWS, "jsonl": LINES}[kind]:
            print(goal(f"ftops at {count:,} rows of {kind}", found["ftops"].wall, SECONDS[kind], "s"))
        print(goal(f"ftops at {count:,} rows of {kind}", found["ftops"].peak, MEBIBYTES, "MiB"))
        sys.stdout.flush()
    if len(counts) > 1:
        first, last = (ours[count].user + ours[count].system for count in (counts[0], counts[-1]))
        times = GROWTH * counts[-1] / counts[0] / 10
        print(goal(f"ftops from {counts[0]:,} to {counts[-1]:,} rows", last / first, times, "times the CPU"))


def step(what: str, file: Path, rows: int) -> Command:
    """A process of its own: its memory is measured."""
    return Command((sys.executable, str(ROOT / "benchmarks" / "logs.py"), "--step", what, str(file), str(rows)))


# ------------------------------------------------------------------------------------------------ what is read


def make_parquet(file: Path, rows: int) -> None:
    """Ids as UUIDs, a tenth as many units as rows, 40 percent without a rating."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from ftops.experiments.assignment import assign_many

    generator = np.random.default_rng(20)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    writer = None
    for start in range(0, rows, STRETCH):
        count = min(STRETCH, rows - start)
        raw = generator.integers(0, 16, (count, 32), dtype=np.uint8)
        ends = pa.py_buffer((np.arange(count + 1) * 32).astype(np.int32))
        number = pa.array(generator.integers(0, max(rows // 10, 1), count)).cast(pa.string())
        unit = pc.binary_join_element_wise("user", number, "-")
        time = 1_767_225_600_000_000 + generator.integers(0, 14 * 86_400_000_000, count)
        table = pa.table(
            {
                "id": pa.StringArray.from_buffers(count, ends, pa.py_buffer(digits[raw].tobytes())),
                "experiment": pa.repeat("benchmark", count),
                "unit": unit,
                "arm": pa.array(np.array(["a", "b"])[assign_many(allocation(), unit)]),
                "time": pa.array(time, pa.timestamp("us", tz="UTC")),
                "rating": pa.array(generator.integers(1, 6, count), mask=generator.random(count) < 0.4),
                "response_time_ms": generator.lognormal(6, 0.5, count),
            }
        )
        writer = writer or pq.ParquetWriter(file, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def make_jsonl(file: Path, rows: int) -> None:
    """The same with texts: about 370 bytes a row."""
    from ftops.experiments.assignment import assign

    draw = random.Random(20)
    with file.open("w") as stream:
        for _ in range(rows):
            unit = f"user-{draw.randrange(max(rows // 10, 1))}"
            made = {
                "id": f"{draw.getrandbits(128):032x}",
                "experiment": "benchmark",
                "unit": unit,
                "arm": assign(allocation(), unit),
                "time": f"2026-01-{draw.randrange(1, 15):02}T{draw.randrange(24):02}:{draw.randrange(60):02}:07.250Z",
                "query": " ".join(draw.choices(WORDS, k=8)),
                "response": " ".join(draw.choices(WORDS, k=16)),
                "response_time_ms": round(draw.lognormvariate(6, 0.5), 1),
                "rating": None if draw.random() < 0.4 else draw.randint(1, 5),
                "feedback": None,
            }
            stream.write(json.dumps(made, ensure_ascii=False) + "\n")


def allocation():
    from ftops.experiments.assignment import Allocation, ranges_by_weight

    return Allocation("benchmark", ranges_by_weight({"a": 5000, "b": 5000}))


# ------------------------------------------------------------------------------------------------- who reads it


def scipy_parquet(file: Path, _: int) -> None:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    from scipy.stats import ttest_ind

    table = pq.read_table(file, columns=["unit", "arm", "rating"])
    means = table.group_by(["unit", "arm"]).aggregate([("rating", "mean")]).drop_null()
    one, other = (means.filter(pc.equal(means["arm"], arm))["rating_mean"].to_numpy() for arm in "ab")
    ttest_ind(one, other, equal_var=False)


def polars_parquet(file: Path, _: int) -> None:
    import polars as pl

    pl.scan_parquet(file).group_by("unit", "arm").agg(pl.col("rating").mean()).collect()


def json_jsonl(file: Path, rows: int) -> None:
    with file.open() as stream:
        if sum(json.loads(line)["rating"] != 0 for line in stream) != rows:
            sys.exit("rows are missing")


def polars_jsonl(file: Path, _: int) -> None:
    import polars as pl

    pl.scan_ndjson(file).group_by("unit", "arm").agg(pl.col("rating").mean()).collect()


STEPS = {
    "make parquet": make_parquet,
    "make jsonl": make_jsonl,
    "scipy parquet": scipy_parquet,
    "polars parquet": polars_parquet,
    "json jsonl": json_jsonl,
    "polars jsonl": polars_jsonl,
}

if __name__ == "__main__":
    main()
