"""git, the only adapter to it: `repository` reads, `commit` commits records without a checkout, `push` pushes them.

Nothing is imported here: a plan reads, and needs none of what writes.
"""
