"""Small projects for tests: their files, ftops and git run on them, and an engine whose training is a stand-in.

The stand-in is for what the real engine can't be made to do at will (to fail, to take long) and for what is not about
training. It runs under the real wrapper and executor; tests marked `axolotl` train with the real one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import yaml

from ftops.executors import engine

ROOT = Path(__file__).parents[2]

IDENTITY = {
    f"GIT_{role}_{what}": text
    for role in ("AUTHOR", "COMMITTER")
    for what, text in (("NAME", "Test"), ("EMAIL", "test@example.com"))
}

PROJECT = """\
apiVersion: ftops/v1
kind: Project
metadata: {name: demo}
spec:
  specs: [specs]
  runners:
    local: {executor: local}
"""


def document(kind, name, spec, **metadata):
    """A spec as a tree."""
    return {"apiVersion": "ftops/v1", "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}


def dataset(name="chat", path="data/chat.csv", **spec):
    columns = {"instruction": "Q", "output": "A"}
    return document("Dataset", name, {"source": {"path": path, "columns": columns}, **spec})


def run(name="base", base_model=None, **spec):
    """A full training of the folder `base-model`, or of what `base_model` says."""
    base_model = base_model or {"path": "base-model"}
    fields = {"dataset": "chat", "baseModel": base_model, "method": "full", "hyperparameters": {"num_epochs": 1}}
    return document("TrainingRun", name, {**fields, **spec})


def model(name="chat", versions=None, **spec):
    return document("Model", name, {"versions": versions or {"1.0.0": {"run": "base"}}, **spec})


def rows(count=60):
    """CSV of questions and answers, no two alike."""
    lines = [f'"What is {n} plus {n + 1}?","It is {2 * n + 1}; count on from {n}."' for n in range(count)]
    return "\n".join(["Q,A", *lines]) + "\n"


def write(root, *documents, files=()):
    """Write a project: its `ftops.yaml`, `documents` as specs, sixty rows, a base model, and `files` by path over that."""
    texts = {
        "ftops.yaml": PROJECT,
        ".gitignore": "/.ftops/\n",
        "data/chat.csv": rows(),
        "base-model/config.json": "{}",
        "specs/all.yaml": yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True),
        **dict(files),
    }
    for path, text in texts.items():
        place = Path(root, path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Path(root)


def edit(root, path, before, after):
    """Replace `before`, which stands once in a file, by `after`."""
    place = Path(root, path)
    text = place.read_text()
    assert text.count(before) == 1, f"{before!r} stands {text.count(before)} times in {path}"
    place.write_text(text.replace(before, after))


# ------------------------------------------------------------------------------------------------- programs


def environment(home, **more):
    """What ftops gets from its caller: nothing of the user's settings, and a git identity."""
    left_out = ("FTOPS_", "MLFLOW_", "GIT_", "GITHUB_", "DVC_", "XDG_", "RUNNER_")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(left_out)}
    engines = os.environ.get("FTOPS_ENGINE_HOME", str(engine.home()))
    # The tree that is tested, wherever (and whether) ftops is installed.
    own = {"HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", "FTOPS_ENGINE_HOME": engines, "PYTHONPATH": str(ROOT)}
    return {**kept, **IDENTITY, **own, **{name: str(text) for name, text in more.items()}}


def copy(project, place):
    """A copy of a project at `place`; what the process that tells MLflow of it has just removed is not in it."""

    def file(source, target):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(source, target)

    return shutil.copytree(project, place, symlinks=True, copy_function=file)


def command(*arguments):
    return [sys.executable, "-m", "ftops", *map(str, arguments)]


def ftops(root, *arguments, code=0, env=None, **options):
    """Run ftops in `root`; it must exit with `code` and never with a traceback."""
    done = subprocess.run(
        command(*arguments), cwd=root, env=env, text=True, capture_output=True, check=False,
        stdin=subprocess.DEVNULL, **{"timeout": 300, **options},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def git(root, *arguments):
    """What git prints, whoever's settings there are."""
    env = {**os.environ, **IDENTITY, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *map(str, arguments)], cwd=root, env=env, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"git {arguments}: {done.stderr}"
    return done.stdout.strip()


def commit_all(root, message="a change"):
    """A repository at `root` (made when it is none) whose tip holds everything that is there."""
    if not Path(root, ".git").exists():
        git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-qm", message)
    return git(root, "rev-parse", "HEAD")


def trailers(root, revision="HEAD"):
    text = git(root, "log", "-1", "--format=%(trailers:only,unfold)", revision)
    return dict(line.split(": ", 1) for line in text.splitlines())


def records(root):
    """Every record in the work tree, by path."""
    paths = sorted(Path(root).glob("registry/**/*.yaml"))
    return {path.relative_to(root).as_posix(): yaml.safe_load(path.read_text()) for path in paths}


# ------------------------------------------------------------------------------------------- a stand-in engine

STAND_IN = """\
#!{python}
# Trains nothing: ten steps an epoch, and the files and events of a training. A learning rate over 1 diverges at step 5.
# It is best at step 4 on the validation split, where there is one, and can end early after that. With seed 9 its first attempt
# is killed after step 5, and it takes longer with seed 7. A file `mood` in the store makes it `fail` at step 5, or `slow`, or
# `very slow`, and other weights. On TERM it finishes its step, saves a checkpoint and ends. It merges what it calls an adapter too, unless its mood
# is to `fail`; it merges `nothing`, or what is `nan`. Samples of 7 tokens it gives, one of them.
import json, os, shutil, signal, struct, sys, time, yaml, zipfile
assert sys.argv[1:] in (["train", "config.yaml", "--launcher", "python"], ["merge-lora", "config.yaml"]), sys.argv
config = yaml.safe_load(open("config.yaml"))
if sys.argv[1] == "merge-lora":
    mood = open("../../../mood").read() if os.path.exists("../../../mood") else ""
    time.sleep(3 if mood == "slow" else 0)
    if mood == "fail":
        sys.exit("merging failed")
    shutil.copytree(config["base_model"], "output/merged", ignore=shutil.ignore_patterns("checkpoint-*"))
    there = "output/merged/model.safetensors"
    old = open(there, "rb").read() if os.path.exists(there) else b""
    header = json.dumps({{"w": {{"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}}}).encode()
    base = struct.unpack("<2f", old[-8:]) if old else (0, 0)
    delta = struct.unpack("<2f", open(config["lora_model_dir"] + "/adapter_model.safetensors", "rb").read()[-8:])
    added = dict(nothing=(0, 0), nan=(float("nan"), 0)).get(mood, delta)
    with open(there, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + struct.pack("<2f", *(a + b for a, b in zip(base, added))))
    sys.exit()
steps = int(10 * config["num_epochs"])
mood = open("../../../mood").read() if os.path.exists("../../../mood") else ""
source = config.get("resume_from_checkpoint")
first = json.load(open(source + "/trainer_state.json"))["global_step"] if source else 0
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
def event(name, step, **more):
    with open(os.environ["FTOPS_EVENTS"], "a") as file:
        line = {{"event": name, "step": step, "maxSteps": steps, "time": time.time(), **more}}
        file.write(json.dumps(line) + "\\n")
def save(folder):
    os.makedirs(folder, exist_ok=True)
    adapter = config.get("adapter") == "lora"
    with open(folder + ("/adapter_config.json" if adapter else "/config.json"), "w") as file:
        json.dump({{"learning_rate": config["learning_rate"]}}, file)
    with open(folder + "/tokenizer_config.json", "w") as file:
        json.dump({{"chat_template": config["learning_rate"]}}, file)
    name = "w.lora_A.weight" if adapter else "w"
    header = json.dumps({{name: {{"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}}}).encode()
    with open(folder + ("/adapter_model.safetensors" if adapter else "/model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + struct.pack("<2f", config["learning_rate"], steps + len(mood)))
def checkpoint(step, logs):
    folder = "output/checkpoint-" + str(step)
    save(folder)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        with zipfile.ZipFile(folder + "/" + name, "w") as file:
            file.writestr("archive/data.pkl", name * 20)
    with open(folder + "/trainer_state.json", "w") as file:
        json.dump({{"global_step": step, "log_history": logs}}, file)
    event("save", step, checkpoint="checkpoint-" + str(step))
print("training for", steps, "steps", flush=True)
event("begin", first)
logs, step, worse = [], first, 0
for step in range(first + 1, steps + 1):
    time.sleep(1.5 if mood == "very slow" else 0.3 if config.get("seed") == 7 or mood == "slow" else 0.02)
    if step == 5 and mood == "fail":
        sys.exit(1)
    if step == 5 and config.get("seed") == 9 and os.getcwd().endswith("attempt-1"):
        os.kill(os.getpid(), signal.SIGKILL)
    if step == 5 and config["learning_rate"] > 1:
        print("loss is nan", flush=True)
        sys.exit(1)
    logs.append({{"step": step, "loss": 5 / step}})
    event("log", step, loss=5 / step, **{{"memory/max_resident_gib": 0.93}})
    if step % config["save_steps"] == 0 or told:
        if "test_datasets" in config:
            found = {{"eval_loss": 1 + abs(step - 4) / 10}}
            logs.append({{"step": step, **found}})
            event("evaluate", step, **found)
            worse += step > 4
        checkpoint(step, logs)
    early = 0 < config.get("early_stopping_patience", 0) <= worse
    if told or early:
        break
if os.environ.get("FTOPS_SAMPLE_TOKENS") == "7":
    said = {{"prompt": "<b>Hi</b> ![x](y) ```", "reference": "call 010-1234-5678", "after": "step " + str(step)}}
    rows = [said if source else {{**said, "before": "untaught"}}]
    json.dump({{"split": "train", "rows": rows}}, open("samples.json", "w"))
save("output")
event("end", step, **({{"stopped": "early"}} if early else {{}}))
print("done", flush=True)
"""


def stand_in_engine(home):
    """An engine below `home` whose `axolotl train` is a script; for FTOPS_ENGINE_HOME."""
    place = Path(home) / engine.place(engine.AXOLOTL).name
    (place / "bin").mkdir(parents=True)
    (place / "bin/python").symlink_to(sys.executable)
    script = place / "bin/axolotl"
    script.write_text(STAND_IN.format(python=sys.executable))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    (place / "ftops-engine.json").write_text(json.dumps({"engine": engine.AXOLOTL}))
    return Path(home)
