"""The records of all kinds together: their files, how they are read, and how two of them merge."""
