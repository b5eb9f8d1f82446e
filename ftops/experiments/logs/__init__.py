"""Log rows of experiments: how an application writes them, and how they become observations.

Nothing is imported here: writing takes the standard library only.
"""
