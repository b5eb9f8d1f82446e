"""A/B experiments: specs, assignment, logs, analysis, verdicts and their reports."""
