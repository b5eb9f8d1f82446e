"""What people read of a data set: the pages beside its record, the text of a check, the difference of two versions."""
