"""How long `ftops --version` takes, beside `dvc --version`.

python benchmarks/start.py [--quick]
"""

from __future__ import annotations

import argparse

from measure import DVC, FTOPS, Command, alternate, goal, heading, median, ratio, row

SECONDS = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two rounds instead of eleven")
    rounds = 2 if parser.parse_args().quick else 11
    commands = {"ftops --version": Command((*FTOPS, "--version")), "dvc --version": Command((*DVC, "--version"))}
    print(heading())
    ours, peer = alternate(commands, rounds).values()
    for name, runs in zip(commands, (ours, peer), strict=True):
        print(row(name, median(runs)))
    print(ratio("ftops : dvc --version", ours, peer))
    print(goal("ftops --version", median(ours).user, SECONDS, "s of user CPU"))


if __name__ == "__main__":
    main()
