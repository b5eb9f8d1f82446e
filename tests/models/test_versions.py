"""Which version comes after those that there are."""

from __future__ import annotations

import pytest

from ftops.models.spec import next_version


@pytest.mark.parametrize(
    ("versions", "after"),
    [
        (("1.0.0",), "1.1.0"),
        (("1.9.0", "1.10.0"), "1.11.0"),
        (("2.0.0", "1.99.99"), "2.1.0"),
        (("1.2.0-rc.1", "1.1.9"), "1.3.0"),
        (("1.0.0-rc.1", "1.0.0"), "1.1.0"),
        (("1.0.0-alpha.10", "1.0.0-alpha.9"), "1.1.0"),
        (("1.0.0+build.7",), "1.1.0"),
        (("0.0.1",), "0.1.0"),
    ],
)
def test_the_next_minor_version_follows_the_highest(versions, after):
    assert next_version(versions) == after
    assert next_version(versions[::-1]) == after
