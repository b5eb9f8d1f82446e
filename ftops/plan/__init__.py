"""The plan as a value: addresses, changes, steps, what was observed; and its text, Markdown and JSON. Pure."""
