"""What people read of an experiment: its report, its charts, the text of a look."""
