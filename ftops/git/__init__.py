"""The only adapter to git and DVC: `repository` reads, `commit` commits without a checkout, `push` pushes.

Nothing is imported here: a plan reads, and needs none of what writes.
"""
