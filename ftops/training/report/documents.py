"""What a model answered before and after a training: for terminals, pages, and as a page beside the record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ftops.display.pages import harmless, render_page
from ftops.display.text import clean, shown
from ftops.resources.record import FOLDER
from ftops.training.record import RunRecord, Sample, Samples

TITLES: Final = {"prompt": "prompt", "reference": "the data answer", "before": "before", "after": "after"}


def answers_lines(samples: Samples) -> Iterator[str]:
    """Each prompt with what was answered, every text in one line and cut."""
    yield f"  {said_of(samples)}"
    for each in samples.rows:
        yield ""
        yield from (f"  {title + ':':<17}{shown(text) or 'nothing'}" for title, text in parts(each))


def said_of(samples: Samples) -> str:
    """`2 rows of the validation split; greedy, so that the same weights answer the same`."""
    count = len(samples.rows)
    rows = f"{count} row{'s' * (count != 1)}"
    return f"{rows} of the {samples.split} split, answered with the likeliest token each time"


def parts(sample: Sample) -> tuple[tuple[str, str], ...]:
    """The texts of a sample that there are, each with its title, harmless on a page."""
    texts = ((title, getattr(sample, name)) for name, title in TITLES.items())
    return tuple((title, harmless(text)) for title, text in texts if text is not None)


def run_documents(record: RunRecord) -> dict[str, bytes]:
    """A page in Markdown with the answers of each run that are recorded, by its path; nothing where none are."""
    runs = [
        (entry.id, said_of(entry.samples), [parts(each) for each in entry.samples.rows])
        for entry in record.status.runs.values()
        if entry.samples is not None
    ]
    if not runs:
        return {}
    path = f"{FOLDER}runs/{record.metadata.name}.md"
    return {path: render_page("run.md.j2", name=clean(record.metadata.name), runs=runs)}
