"""Why a training failed, what is tried again, and what a person stops: on attempts that a stand-in makes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time

import pytest
import yaml

from ftops.executors.job_state import JobState, Observation, ended
from ftops.registry.record_files import parse
from ftops.training.axolotl.failure_classes import Fault, capacity, failure, hint_for
from tests.support import projects
from tests.support.projects import commit_all, dataset, edit, environment, ftops, git, model, records, run

# ---------------------------------------------------------------------------------------------------- classes

CUDA = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.64 GiB of "
    "which 1.20 GiB is free."
)

WRITTEN = {
    CUDA: Fault.GPU_MEMORY,
    "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`": Fault.GPU_MEMORY,
    "RuntimeError: [enforce fail at alloc_cpu.cpp:114] . DefaultCPUAllocator: can't allocate memory: you tried to "
    "allocate 8589934592 bytes.": Fault.HOST_MEMORY,
    "MemoryError": Fault.HOST_MEMORY,
    "RuntimeError: DataLoader worker is killed. It is possible that dataloader's workers are out of shared memory.\n"
    "insufficient shared memory (shm)": Fault.HOST_MEMORY,
    "OSError: [Errno 28] No space left on device": Fault.DISK,
    "subprocess.CalledProcessError: Command '[…]' died with <Signals.SIGKILL: 9>.": Fault.KILLED,
    "  traceback : Signal 9 (SIGKILL) received by PID 4242": Fault.KILLED,
    "ModuleNotFoundError: No module named 'flash_attn'": Fault.ENGINE,
    "RuntimeError: No CUDA GPUs are available": Fault.ENGINE,
    "AssertionError: Torch not compiled with CUDA enabled": Fault.ENGINE,
    "huggingface_hub.errors.GatedRepoError: 403 Client Error.": Fault.HUB,
    "OSError: We couldn't connect to 'https://huggingface.co' to load the files": Fault.HUB,
    "pydantic_core._pydantic_core.ValidationError: 1 validation error for AxolotlInputConfig": Fault.CONFIG,
    "datasets.exceptions.DatasetGenerationError: An error occurred while generating the dataset": Fault.DATA,
    "ValueError: ftops: no supervised tokens in 3 of 20 rows": Fault.DATA,
    "[rank3]: ValueError: ftops: no supervised tokens in 3 of 20 rows": Fault.DATA,
    "FloatingPointError: ftops: the loss is nan at step 12": Fault.LOSS,
    "ZeroDivisionError: division by zero": Fault.UNKNOWN,
    "": Fault.UNKNOWN,
}


@pytest.mark.parametrize(("log", "fault"), WRITTEN.items(), ids=[each[:40] for each in WRITTEN])
def test_what_a_trainer_writes_says_its_fault(log, fault):
    text = f"Loading checkpoint shards: 100%\nTraceback (most recent call last):\n{log}\nftops: done"
    assert failure(ended({"exitCode": 1}, stop=False), text).fault is fault


ENDED = {
    "time limit": ({"signal": 15, "timedOut": True}, Fault.TIME_OUT),
    "killed": ({"signal": 9}, Fault.KILLED),
    "told by somebody": ({"exitCode": 0, "stopSignal": 15}, Fault.KILLED),
    "kernel": ({"signal": 9, "memory": {"oomKills": 1, "limit": 1 << 30}}, Fault.HOST_MEMORY),
    "bus error": ({"signal": int(signal.SIGBUS)}, Fault.HOST_MEMORY),
    "crashed": ({"signal": int(signal.SIGSEGV)}, Fault.UNKNOWN),
    "no program": ({"exitCode": 127}, Fault.ENGINE),
}


@pytest.mark.parametrize(("result", "fault"), ENDED.values(), ids=ENDED)
def test_how_a_process_ended_says_its_fault(result, fault):
    assert failure(ended(result, stop=False), "training").fault is fault


def test_what_the_kernel_says_counts_more_than_what_was_written():
    assert failure(ended({"signal": 9}, stop=False), CUDA).fault is Fault.KILLED
    assert failure(Observation(JobState.NODE_LOST), CUDA).fault is Fault.LOST_RUNNER
    assert failure(Observation(JobState.PREEMPTED), "").reason == "preempted"


def test_a_reason_that_is_recorded_holds_nothing_that_a_library_wrote():
    job = ended({"exitCode": 1}, stop=False)
    assert failure(job, "JSONDecodeError: row 3: my phone is 010-1234-5678").reason == "exit code 1"
    assert failure(job, "ValueError: ftops: no supervised tokens in 3 rows").reason == "no supervised tokens in 3 rows"


def test_what_axolotl_refuses_before_the_first_step_is_said_in_our_words():
    job = ended({"exitCode": 1}, stop=False)
    log = "ValueError: eval dataset split is too small for sample_packing. You should set `eval_sample_packing: False`"
    assert failure(job, log).reason.startswith("the validation split is too small to be packed")
    log = "ValueError: `chat_template choice is tokenizer_default but tokenizer's chat_template is null. Please add"
    assert failure(job, log).reason.startswith("the tokenizer has no chat template")


def test_the_log_is_left_out_where_our_words_say_all():
    job = ended({"exitCode": 1}, stop=False)
    assert failure(job, "ValueError: ftops: no supervised tokens in 3 rows").whole
    assert failure(job, "ValueError: eval dataset split is too small for sample_packing.").whole
    assert not failure(job, CUDA).whole
    assert not failure(job, "JSONDecodeError: row 3").whole


def test_every_fault_has_a_hint():
    assert all(hint_for(each, "base") for each in Fault)


def test_the_size_of_a_gpu_is_read_where_it_was_too_small():
    assert capacity(CUDA) == round(23.64 * (1 << 30))
    assert capacity("out of memory") is None


@pytest.mark.parametrize("text", ["ValueError: ftops: " * 20_000, "[rank" * 100_000, "Repository" * 60_000])
def test_the_patterns_take_linear_time(text):
    began = time.process_time()
    failure(ended({"exitCode": 1}, stop=False), text)
    assert time.process_time() - began < 2


# -------------------------------------------------------------------------------------------------- apply


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    return environment(home, FTOPS_ENGINE_HOME=projects.stand_in_engine(home / "engines"))


def project(place, *more, files=(), seed=1, learning_rate=0.1, epochs=1, **spec):
    fields = {"checkpoints": {"every": 2}, **spec}
    hyperparameters = {"num_epochs": epochs, "learning_rate": learning_rate, "seed": seed}
    root = projects.write(place, dataset(), run(hyperparameters=hyperparameters, **fields), *more, files=files)
    commit_all(root)
    return root


def attempts(root, name="base"):
    return sorted(root.glob(f".ftops/runs/{name}-*/attempt-*"))


def steps(root):
    """The steps that were trained, over all attempts of the run."""
    lines = [line for each in attempts(root) for line in (each / "events.jsonl").read_text().splitlines()]
    return [event["step"] for line in lines if (event := json.loads(line))["event"] == "log"]


def entry(root):
    status = records(root)["registry/runs/base.yaml"]["status"]
    return status["runs"][status["current"]]


CHATS = {"output": {"format": "messages"}}
TOKENIZER = "base-model/tokenizer_config.json"


@pytest.mark.parametrize(
    ("template", "data", "files", "refused"),
    [
        ("tokenizer_default", CHATS, {TOKENIZER: "{}"}, True),
        ("tokenizer_default", {}, {TOKENIZER: "{}"}, True),
        ("tokenizer_default", CHATS, {TOKENIZER: "{}", "base-model/chat_template.jinja": "{{ messages }}"}, False),
        ("tokenizer_default", CHATS, {TOKENIZER: '{"chat_template": "{{ messages }}"}'}, False),
        ("tokenizer_default", CHATS, {}, False),
        ("chatml", CHATS, {TOKENIZER: "{}"}, False),
        (None, CHATS, {TOKENIZER: "{}"}, False),
    ],
)
def test_a_tokenizer_without_a_chat_template_is_refused_where_it_is_needed(
    tmp_path, env, template, data, files, refused
):
    chosen = {} if template is None else {"chat_template": template}
    root = projects.write(tmp_path, dataset(**data), run(hyperparameters={"num_epochs": 1, **chosen}), files=files)
    commit_all(root)
    said = ftops(root, "apply", "--yes", env=env, code=5 if refused else 0).stdout
    assert bool(attempts(root)) is not refused
    assert ("the tokenizer of the base model has no chat template" in said) is refused
    if refused:
        assert re.search(r"specs/all\.yaml:\d+:\d+", said)
        assert "`chat_template: chatml`" in said


KILLED = 9  # the seed with which the stand-in's first attempt is killed


def test_a_killed_training_is_tried_again_by_the_same_apply(tmp_path, env):
    root = project(tmp_path, seed=KILLED)
    done = ftops(root, "apply", "--yes", env=env)
    assert (
        "attempt 1 failed (killed): it was killed by signal 9; it goes on from its checkpoint-4 at once" in done.stderr
    )
    assert steps(root) == [*range(1, 11)]
    found = entry(root)["attempts"]
    assert [(each["phase"], each.get("fault")) for each in found.values()] == [
        ("failed", "killed"),
        ("succeeded", None),
    ]
    assert "No changes" in ftops(root, "plan", env=env).stdout
    assert "killed" in ftops(root, "run", "show", "base", env=env).stdout


@pytest.mark.parametrize("retry", [{"max": 0}, {"max": 3, "on": ["gpu-memory"]}])
def test_what_is_not_to_be_tried_again_is_not(tmp_path, env, retry):
    root = project(tmp_path, seed=KILLED, retry=retry)
    done = ftops(root, "apply", "--yes", env=env, code=6)
    assert "attempt 1 failed (killed): it was killed by signal 9" in done.stdout
    assert "the next `ftops apply` goes on from its checkpoint-4" in done.stdout
    assert len(attempts(root)) == 1


def test_a_fault_is_tried_again_only_so_often(tmp_path, env):
    root = project(tmp_path, learning_rate=1000.0, retry={"max": 2, "on": ["unknown"]})
    done = ftops(root, "apply", "--yes", env=env, code=6)
    assert done.stderr.count("at once") == 2
    assert len(attempts(root)) == 3


def test_an_unknown_fault_class_is_refused_with_its_place(tmp_path, env):
    root = project(tmp_path, retry={"on": ["oom"]})
    said = ftops(root, "validate", env=env, code=3)
    assert "specs/all.yaml:" in said.stderr + said.stdout
    assert "gpu-memory" in said.stderr + said.stdout


def test_early_stopping_needs_to_know_what_is_better(tmp_path, env):
    root = project(tmp_path, earlyStopping={"patience": 3})
    said = ftops(root, "validate", env=env, code=3)
    assert "earlyStopping needs checkpoints.best: it says what is better" in said.stdout + said.stderr


def test_the_budget_of_gpu_hours_holds_over_all_attempts(tmp_path, env):
    root = project(tmp_path, learning_rate=1000.0, budget={"gpuHours": 0.00001})
    ftops(root, "apply", "--yes", env=env, code=6)
    done = ftops(root, "apply", "--yes", env=env, code=5)
    assert "its attempts have used up the budget of 1e-05 GPU hours" in done.stdout
    assert len(attempts(root)) == 1


# --------------------------------------------------------------------------------------------------- stop

EPOCHS = 10  # of ten steps: it must not end before it is stopped, however busy the machine is


def wait(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return value


def trained_to(root, step):
    return attempts(root) and (attempts(root)[-1] / "events.jsonl").exists() and max(steps(root), default=0) >= step


@pytest.fixture
def training(tmp_path, env):
    """A project whose training goes on, and the apply that follows it."""
    root = project(tmp_path / "project", run("next", {"run": "base"}), model(), epochs=EPOCHS)
    mood = root / ".ftops/mood"
    mood.parent.mkdir()
    mood.write_text("slow")
    follower = subprocess.Popen(
        projects.command("apply", "--yes"),
        cwd=root,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait(lambda: trained_to(root, 3))
    mood.unlink()  # it was read; what is trained later is fast
    yield root, follower
    follower.kill()
    follower.communicate()


def resume(root, env):
    """Told to, it goes on from its checkpoint, and what waited is done."""
    last = max(steps(root))
    done = ftops(root, "apply", "--yes", "--resume", "base", env=env)
    assert "3 done, 0 failed" in done.stdout
    assert steps(root) == [*range(1, 10 * EPOCHS + 1)]
    assert attempts(root)[1].name == "attempt-2"
    config = yaml.safe_load((attempts(root)[1] / "config.yaml").read_text())
    assert config["resume_from_checkpoint"] == f"../attempt-1/output/checkpoint-{last}"
    assert "No changes" in ftops(root, "plan", env=env).stdout


def left_alone(root, env):
    last = max(steps(root))
    plan = ftops(root, "plan", "--detailed-exitcode", env=env)
    assert f"was stopped; `ftops apply --resume base` goes on from checkpoint-{last}" in plan.stdout
    assert plan.stdout.count("waits for TrainingRun/base, which was stopped") == 2
    assert "No changes: what is left waits." in plan.stdout
    ftops(root, "apply", "--yes", env=env)
    assert len(attempts(root)) == 1


def test_a_stop_saves_a_checkpoint_and_apply_leaves_it_alone_until_told(training, env):
    root, follower = training
    follower.kill()  # nobody follows it: stop records it itself
    follower.wait()
    done = ftops(root, "stop", "base", env=env)
    last = max(steps(root))
    assert f"is stopped at checkpoint-{last}: commit " in done.stdout
    assert "It goes on with `ftops apply --resume base`." in done.stdout
    assert (entry(root)["phase"], entry(root)["attempts"]["1"]["phase"]) == ("cancelled", "cancelled")
    assert git(root, "log", "-1", "--format=%s") == "ftops: TrainingRun/base cancelled"
    assert git(root, "status", "--porcelain") == ""
    assert '"cancelled"' in ftops(root, "status", "--format", "json", env=env).stdout
    left_alone(root, env)
    resume(root, env)


def test_the_apply_that_follows_a_stopped_training_records_it(training, env):
    root, follower = training
    done = ftops(root, "stop", "TrainingRun/base", env=env)
    assert "is stopped at checkpoint-" in done.stdout
    said, _ = follower.communicate(timeout=60)
    assert follower.returncode == 6
    assert "attempt 1 was stopped" in said
    assert "`ftops apply --resume base` goes on from its checkpoint-" in said
    assert entry(root)["phase"] == "cancelled"
    left_alone(root, env)
    resume(root, env)


def test_what_was_stopped_on_another_machine_is_left_alone_too(training, env, tmp_path):
    root, follower = training
    follower.kill()
    follower.wait()
    ftops(root, "stop", "base", env=env)
    there = tmp_path / "there"
    git(tmp_path, "clone", "-q", root, there)
    plan = ftops(there, "plan", "--target", "TrainingRun/base", env=env)
    assert "was stopped; `ftops apply --resume base` begins it again" in plan.stdout


def test_a_changed_spec_is_another_training(training, env):
    root, follower = training
    follower.kill()
    follower.wait()
    ftops(root, "stop", "base", env=env)
    edit(root, "specs/all.yaml", "seed: 1", "seed: 8")
    commit_all(root, "another seed")
    assert "3 done, 0 failed" in ftops(root, "apply", "--yes", env=env).stdout


def test_only_what_goes_on_can_be_stopped(tmp_path, env):
    root = project(tmp_path)
    assert "no training of 'base'" in ftops(root, "stop", "base", env=env, code=64).stderr
    ftops(root, "apply", "--yes", env=env)
    assert "is succeeded: there is nothing to stop" in ftops(root, "stop", "base", env=env, code=64).stderr
    assert "did you mean 'base'" in ftops(root, "stop", "bsae", env=env, code=64).stderr
    assert "expected a number with a unit" in ftops(root, "stop", "base", "--grace", "10", env=env, code=64).stderr


def test_a_record_with_a_fault_is_read_again(tmp_path, env):
    root = project(tmp_path, seed=KILLED)
    ftops(root, "apply", "--yes", env=env)
    path = "registry/runs/base.yaml"
    record = parse(path, (root / path).read_bytes())
    (found,) = record.status.runs.values()
    assert found.attempts["1"].fault is Fault.KILLED
