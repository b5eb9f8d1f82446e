"""pyarrow does without pandas where ftops asks it to, and nothing else is kept from pandas."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("pandas")


def in_new_process(code):
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_arrays_of_lists_do_not_import_pandas():
    in_new_process("""
        import sys
        import pyarrow as pa
        from ftops.store.arrow import leave_pandas_out

        leave_pandas_out()
        assert pa.array([1, None, 3]).null_count == 1
        assert "pandas" not in sys.modules
    """)


def test_pandas_works_for_others_all_the_same():
    in_new_process("""
        import pyarrow as pa
        from ftops.store.arrow import leave_pandas_out

        leave_pandas_out()
        import pandas

        assert pa.table({"a": [1, 2]}).to_pandas()["a"].sum() == 3
        assert pa.Table.from_pandas(pandas.DataFrame({"a": [1, 2]})).num_rows == 2
        assert pa.array(pandas.Series([1.5, 2.5])).to_pylist() == [1.5, 2.5]
    """)


def test_pandas_that_is_there_already_stays():
    in_new_process("""
        import pandas
        import pyarrow as pa
        from ftops.store.arrow import leave_pandas_out

        leave_pandas_out()
        assert pa.array(pandas.Series([1, 2])).to_pylist() == [1, 2]
    """)


def test_a_check_of_data_leaves_it_out(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "What is two and two?", "output": "It is four."}\n' * 3)
    in_new_process(f"""
        import sys
        from ftops.cli import ftops

        ftops.main(["dataset", "check", {str(rows)!r}], prog_name="ftops", standalone_mode=False)
        assert "pyarrow" in sys.modules
        assert "pandas" not in sys.modules
    """)
