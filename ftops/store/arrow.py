"""pyarrow without what ftops doesn't use of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec


class _NoPandas:
    """A finder of modules that finds that pandas is not installed."""

    @staticmethod
    def find_spec(name: str, _path: Sequence[str] | None = None, _target: object = None) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError("left out", name=name)
        return None


def leave_pandas_out() -> None:
    """To be called before arrays are made of Python's lists.

    The first time pyarrow asks whether what it gets is of pandas, and imports all of pandas for that question: 0.2 seconds
    and 60 MB in every process. It asks once, so pandas is out of reach here and nowhere else; `to_pandas` still works.
    """
    import pyarrow as pa

    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(_NoPandas)
