"""Preparing a data set: from real files into a real store, whole or not at all."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from ftops.errors import ChecksFailed, ExternalError, FtopsError
from ftops.kinds.dataset import DatasetSpec
from ftops.pipeline import prepare, read_manifest, verify
from ftops.store import open_store
from ftops.values import Source

DIGEST = "d" * 64
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def preparing(tmp_path):
    """Prepares `files` (text by name) with a spec's fields, gives the result and its folder."""

    def run(files, /, source=None, root=tmp_path, sources=(), **spec):
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        source = source or {"paths" if len(files) > 1 else "path": list(files) if len(files) > 1 else next(iter(files))}
        store = open_store(tmp_path / "store")
        model = DatasetSpec.model_validate_json(json.dumps({"source": source, **spec}))
        told = []
        prepared = prepare(model, DIGEST, root, dict(sources), store, lambda *each: told.append(each))
        return prepared, store.data(DIGEST), told

    return run


@pytest.fixture
def refusal(preparing, tmp_path):
    """What a refused preparation says; the store must be as empty as before."""

    def run(*args, error=ChecksFailed, **spec):
        with pytest.raises(error) as caught:
            preparing(*args, **spec)
        assert list((tmp_path / "store" / "data").iterdir()) == []
        return [(each.summary, str(each.where), each.detail) for each in caught.value.diagnostics]

    return run


def rows(folder, *names):
    return [
        json.loads(line)
        for name in names or ("train",)
        for line in (folder / f"{name}.jsonl").read_bytes().splitlines()
    ]


ALL = ("train", "validation", "test")
WHOLE = {"train": 1, "validation": 0, "test": 0}


def csv(count, start=0):
    return "instruction,output\n" + "".join(f"question {n},answer {n}\n" for n in range(start, start + count))


# ------------------------------------------------------------------------------------------------- whole


def test_a_prepared_data_set_is_splits_and_a_manifest(preparing):
    prepared, folder, told = preparing({"rows.csv": csv(1000) + "question 5,answer 5\n"})
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.json", "test.jsonl", "train.jsonl", "validation.jsonl",
    ]  # fmt: skip
    assert prepared == read_manifest(folder)
    assert verify(folder) == ()
    counts = {name: split["rows"] for name, split in prepared.splits.items()}
    assert sum(counts.values()) == len(rows(folder, *ALL)) == 1000
    assert 850 < counts["train"] < 950
    assert 20 < counts["validation"] < 90
    assert prepared.statistics == {
        "rowsRead": 1001, "invalidRows": 0, "droppedRows": 1, "rows": 1000,
        "lengths": {
            "instruction": {"min": 10, "mean": 11.89, "p50": 12, "p95": 12, "max": 12},
            "output": {"min": 8, "mean": 9.89, "p50": 10, "p95": 10, "max": 10},
        },
    }  # fmt: skip
    assert prepared.findings == {"format": {}, "duplicates": {"exactRows": 1, "clusters": 1}}
    assert prepared.warnings == ()
    assert told[0] == ("read", 0, 1)
    assert told[-1] == ("write", 1000, 1000)


def test_a_manifest_holds_no_row(preparing):
    _, folder, _ = preparing(
        {"rows.csv": "instruction,output\nsecret-a,secret-b\nsecret-a,secret-b\nsecret-a,\n"},
        split=WHOLE,
        onInvalid="skip",
    )
    assert "secret" not in (folder / "manifest.json").read_text()


def test_rows_keep_their_order(preparing):
    _, folder, _ = preparing({"rows.csv": csv(50)}, split=WHOLE)
    assert [row["output"] for row in rows(folder)] == [f"answer {n}" for n in range(50)]


def test_alpaca(preparing):
    _, folder, _ = preparing(
        {"a.json": '[{"Q": "안녕?", "A": "b", "input": "c"}, {"Q": "d", "A": "e", "system": "f"}]'},
        source={"path": "a.json", "columns": {"instruction": "Q", "output": "A"}}, split=WHOLE,
    )  # fmt: skip
    assert (folder / "train.jsonl").read_text() == (
        '{"instruction":"안녕?","input":"c","output":"b"}\n{"instruction":"d","input":"","output":"e"}\n'
    )


def test_messages_from_instructions(preparing):
    content = '[{"instruction": "a", "output": "b", "input": "c", "system": "d"}, {"instruction": "e", "output": "f"}]'
    _, folder, _ = preparing({"a.json": content}, split=WHOLE, output={"format": "messages"})
    assert (folder / "train.jsonl").read_text() == (
        '{"messages":[{"role":"system","content":"d"},{"role":"user","content":"a\\nc"},{"role":"assistant","content":"b"}]}\n'
        '{"messages":[{"role":"user","content":"e"},{"role":"assistant","content":"f"}]}\n'
    )


def test_messages_from_a_chat(preparing):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "bcd"}]
    content = json.dumps({"messages": turns, "id": 1}) + "\n"
    prepared, folder, _ = preparing({"a.jsonl": content * 2}, shape="chat", split=WHOLE, output={"format": "messages"})
    assert rows(folder) == [{"messages": turns}]
    assert prepared.statistics["lengths"] == {"messages": {"min": 4, "mean": 4, "p50": 4, "p95": 4, "max": 4}}


def test_several_files_are_one_data_set(preparing):
    files = {
        "a/x.csv": csv(3),
        "b.jsonl": '{"instruction":"question 1","output":"answer 1"}\n{"instruction":"i","output":"o"}',
    }
    prepared, folder, _ = preparing(files, split=WHOLE)
    assert [row["output"] for row in rows(folder)] == ["answer 0", "answer 1", "answer 2", "o"]
    assert prepared.findings["duplicates"]["exactRows"] == 1


def test_the_output_form_moves_no_row_between_splits(preparing, tmp_path):
    sides = []
    for number, form in enumerate(("alpaca", "messages")):
        (tmp_path / str(number)).mkdir()
        _, folder, _ = preparing({"rows.csv": csv(300)}, output={"format": form})
        sides.append([len(rows(folder, name)) for name in ALL])
        folder.rename(tmp_path / f"gone-{number}")
    assert sides[0] == sides[1]


# ----------------------------------------------------------------------------------------------- refused


def test_rows_that_break_the_shape_stop_everything_and_are_named(refusal):
    content = '{"instruction":"a","output":"b"}\n{"instruction":" ","output":5}\n\n{"output":"c"}\n'
    assert refusal({"a.jsonl": content}) == [
        ("row 2: 'instruction' is empty", "a.jsonl:2", "at byte 33"),
        ("row 2: 'output' must be text, found a number", "a.jsonl:2", "at byte 33"),
        ("row 3: 'instruction' is missing", "a.jsonl:4", "at byte 65"),
    ]


def test_the_first_faults_are_shown_and_all_counted(refusal):
    told = refusal({"a.csv": csv(1) + ",b\n" * 1234})
    assert len(told) == 21
    assert told[0][:2] == ("row 2: 'instruction' is empty", "a.csv:3")
    assert told[-1][0] == "and 1,214 more like these"


def test_a_fault_in_a_second_file_names_that_file(refusal):
    told = refusal({"a.csv": csv(3), "b.csv": csv(1) + ",b\n"})
    assert told == [("row 5: 'instruction' is empty", "b.csv:3", "row 2 of b.csv, at byte 39")]


def test_rows_that_break_the_shape_can_be_left_out(preparing):
    prepared, folder, _ = preparing({"a.csv": csv(3) + ",b\n,\n" + csv(2, 3)[19:]}, onInvalid="skip", split=WHOLE)
    assert len(rows(folder)) == 5
    assert (prepared.statistics["invalidRows"], prepared.statistics["droppedRows"]) == (2, 0)
    assert prepared.findings["format"] == {"instruction is empty": 2, "output is empty": 1}
    assert prepared.warnings == ("left out, because they break the shape: rows 4, 5",)


def test_duplicates_can_stop_everything(refusal):
    told = refusal({"a.csv": csv(3) + csv(2)[19:]}, checks=[{"duplicates": {"exact": "fail"}}])
    assert told == [
        ("row 4: says the same as row 1", "a.csv:5", "at byte 79"),
        ("row 5: says the same as row 2", "a.csv:6", "at byte 99"),
    ]


def test_duplicates_can_be_kept_and_told(preparing):
    prepared, folder, _ = preparing(
        {"a.csv": csv(3) + csv(1)[19:]}, checks=[{"duplicates": {"exact": "report"}}], split=WHOLE
    )
    assert len(rows(folder)) == 4
    assert prepared.warnings == ("duplicates found and kept: row 4",)


def test_without_checks_duplicates_stay_on_one_side(preparing):
    _, folder, _ = preparing(
        {"a.csv": csv(60) + csv(60)[19:]}, checks=[], split={"train": 0.5, "validation": 0.5, "test": 0}
    )
    train, validation = ([row["output"] for row in rows(folder, name)] for name in ALL[:2])
    assert len(train) + len(validation) == 120
    assert not set(train) & set(validation)


def test_no_rows_to_train_on_is_an_error(refusal):
    assert refusal({"a.csv": csv(0)})[0][:2] == ("no rows are left to train on", "a.csv")
    assert refusal({"a.csv": csv(0) + ",\n"}, onInvalid="skip")[0][0] == "no rows are left to train on"
    tiny = {"train": 0.000001, "validation": 0.999999, "test": 0}
    assert refusal({"a.csv": csv(3)}, split=tiny)[0][0] == "the train split has no rows"


def test_another_empty_split_is_a_warning(preparing):
    prepared, folder, _ = preparing(
        {"a.csv": csv(1)}, split={"train": 0.999998, "validation": 0.000001, "test": 0.000001}
    )
    assert [text.partition(":")[0] for text in prepared.warnings] == [
        "the validation split has no rows", "the test split has no rows",
    ]  # fmt: skip
    assert (folder / "test.jsonl").read_bytes() == b""


def test_a_split_that_the_spec_leaves_out_is_no_warning(preparing):
    assert preparing({"a.csv": csv(3)}, split=WHOLE)[0].warnings == ()


def test_a_column_that_is_not_there(refusal):
    told = refusal({"a.csv": "Q,A\nb,c\n"}, source={"path": "a.csv", "columns": {"instruction": "q", "output": "A"}})
    assert told == [("no column 'q' for the field 'instruction'", "a.csv", "the file has Q, A")]


@pytest.mark.parametrize("field", ["instrution", "messages", "system"])
def test_a_field_that_rows_cannot_have(refusal, field):
    columns = {"instruction": "Q", "output": "A", field: "X"}
    with pytest.raises(ValidationError, match=f"{field} is no field of shape instruction written as alpaca"):
        refusal({"a.csv": "Q,A,X\nb,c,d\n"}, source={"path": "a.csv", "columns": columns})


def test_a_mapped_column_is_not_read_for_another_field(preparing):
    columns = {"instruction": "input", "output": "output"}
    _, folder, _ = preparing(
        {"a.csv": "input,output\nb,c\n"}, source={"path": "a.csv", "columns": columns}, split=WHOLE
    )
    assert rows(folder) == [{"instruction": "b", "input": "", "output": "c"}]


def test_a_file_that_changed_since_the_plan(refusal):
    planned = {"a.csv": Source("a.csv", "sha256:" + "0" * 64)}
    assert (
        "a.csv: changed since it was planned" in refusal({"a.csv": csv(3)}, sources=planned, error=ExternalError)[0][0]
    )


# ------------------------------------------------------------------------------------------ interrupted


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    """A file size limit makes the kernel refuse a write in the middle of a split, as a full disk does."""
    (tmp_path / "rows.csv").write_text(csv(20_000))
    done = _child(tmp_path, f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({200_000}, {200_000}))")
    assert done.stdout.strip() == "OSError"
    assert list((tmp_path / "store" / "data").iterdir()) == []


def test_a_kill_in_the_middle_leaves_no_data_set(tmp_path):
    (tmp_path / "rows.csv").write_text(csv(20_000))
    done = _child(tmp_path, "", "os.kill(os.getpid(), signal.SIGKILL) if stage == 'write' and done else None")
    assert done.returncode == -signal.SIGKILL
    store = open_store(tmp_path / "store")
    assert not store.data(DIGEST).exists()
    with store.exclusive():
        assert list((tmp_path / "store" / "data").iterdir()) == []


def _child(folder, before, progress="None"):
    program = f"""
import os, signal
from pathlib import Path
from ftops.errors import FtopsError
from ftops.kinds.dataset import DatasetSpec
from ftops.pipeline import prepare
from ftops.store import open_store
root = Path({str(folder)!r})
store = open_store(root / "store")
{before}
def progress(stage, done, total):
    {progress}
try:
    prepare(DatasetSpec.model_validate({{"source": {{"path": "rows.csv"}}}}), {DIGEST!r}, root, {{}}, store, progress)
except (FtopsError, OSError) as error:
    print(["FtopsError", "OSError"][isinstance(error, OSError)])
"""
    root = Path(__file__).resolve().parents[1]
    return subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("damage", ["changed", "gone", "no manifest"])
def test_damage_is_found(preparing, damage):
    _, folder, _ = preparing({"a.csv": csv(30)})
    if damage == "changed":
        (folder / "train.jsonl").write_bytes((folder / "train.jsonl").read_bytes()[:-2] + b"]\n")
    elif damage == "gone":
        (folder / "test.jsonl").unlink()
    else:
        (folder / "manifest.json").unlink()
    assert len(verify(folder)) == 1


def test_no_manifest_is_none(tmp_path):
    assert read_manifest(tmp_path) is None
    (tmp_path / "manifest.json").write_text("[]")
    assert read_manifest(tmp_path) is None


# ---------------------------------------------------------------------------------------------- real data


def shared(path):
    found = SHARED / path
    return pytest.param(found, marks=pytest.mark.skipif(not found.exists(), reason=f"{found} is not at hand"))


@pytest.mark.parametrize("file", [shared("korean-chatbot/ChatbotData.csv")])
def test_korean_chatbot(preparing, file):
    source = {"path": file.name, "columns": {"instruction": "Q", "output": "A"}}
    prepared, folder, _ = preparing({}, source=source, root=file.parent)
    assert prepared.statistics["rowsRead"] == 11_823
    assert prepared.findings == {"format": {}, "duplicates": {"exactRows": 73, "clusters": 73}}
    assert len(rows(folder, *ALL)) == 11_750
    assert prepared.splits["train"]["rows"] == pytest.approx(0.9 * 11_750, rel=0.02)


@pytest.mark.parametrize("file", [shared("llama-factory/alpaca_en_demo.json")])
def test_alpaca_demo(preparing, file):
    prepared, folder, _ = preparing({}, source={"path": file.name}, root=file.parent, checks=[], split=WHOLE)
    assert prepared.statistics["rowsRead"] == 999
    expected = [
        {name: row[name] for name in ("instruction", "input", "output")} for row in json.loads(file.read_text())
    ]
    assert rows(folder) == expected


def test_memory_stays_near_the_size_of_the_data(tmp_path):
    """60 MB of rows in less than 400 MB: the interpreter and Arrow, the file, its table, and a batch of objects."""
    (tmp_path / "rows.csv").write_text("instruction,output\n" + "".join(f"{n},{'x' * 1000}\n" for n in range(60_000)))
    done = _child(tmp_path, "import atexit; atexit.register(lambda: print(Path('/proc/self/status').read_text()))")
    assert (done.returncode, done.stderr) == (0, "")
    assert int(re.search(r"VmHWM:\s+(\d+) kB", done.stdout)[1]) < 400 * 1024


def test_every_error_is_an_ftops_error(preparing):
    with pytest.raises(FtopsError):
        preparing({}, source={"path": "gone.csv"})
