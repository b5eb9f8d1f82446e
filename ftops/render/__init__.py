"""Values → what people and programs read: text, Markdown, annotations, JSON. No text ends with a line end."""

from __future__ import annotations

from ftops.render.answers import run_documents
from ftops.render.check import check_json, check_text, findings_csv
from ftops.render.dataset import dataset_documents, dataset_page
from ftops.render.experiment import experiment_documents
from ftops.render.look import look_json, look_text
from ftops.render.markdown import diagnostics_github, plan_markdown
from ftops.render.progress import status_json, status_text, training_text
from ftops.render.saved import as_json, diagnostics_json, plan_from_json, plan_json, saved_seal
from ftops.render.text import diagnostics_text, plan_text
from ftops.render.words import clean, clock, mask, shown, step_text

__all__ = [
    "as_json",
    "check_json",
    "check_text",
    "clean",
    "clock",
    "dataset_documents",
    "dataset_page",
    "diagnostics_github",
    "diagnostics_json",
    "diagnostics_text",
    "experiment_documents",
    "findings_csv",
    "look_json",
    "look_text",
    "mask",
    "plan_from_json",
    "plan_json",
    "plan_markdown",
    "plan_text",
    "run_documents",
    "saved_seal",
    "shown",
    "status_json",
    "status_text",
    "step_text",
    "training_text",
]
