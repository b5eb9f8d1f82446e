"""The local folder of runs, prepared data and caches: nothing in it is the truth."""
