"""The training engine's program, and the environment that it needs."""

from __future__ import annotations

import os

from ftops.executors.engine import require_engine
from ftops.resources.project import Runner
from ftops.training.spec.training_run import TrainingRun


def engine_command(run: TrainingRun, runner: Runner) -> tuple[str, dict[str, str]]:
    """The engine's program, and the environment that it needs: what it starts is beside it. An image has both of its own.

    Raises ExternalError where the engine is needed here and not installed.
    """
    env = {
        "PYTHONPATH": "plugin",
        "AXOLOTL_DO_NOT_TRACK": "1",
        **({"HF_HUB_OFFLINE": "1"} if run.spec.base_model.hub is None or runner.is_offline else {}),
        # Threads that wait by spinning take the processor from each other, and from all else on a CPU runner.
        **({} if runner.gpus else {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}),
    }
    if not runner.uses_engine_here:
        return "axolotl", env
    engine = require_engine(runner.engine)
    usual = "/usr/local/bin:/usr/bin:/bin"
    others = os.environ.get("PATH", usual) if runner.docker is None else usual
    return str(engine.bin / "axolotl"), {"PATH": f"{engine.bin}:{others}", **env}
