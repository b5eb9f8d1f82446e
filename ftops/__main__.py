"""`python -m ftops`, and the `ftops` command."""

from __future__ import annotations

from ftops.cli import main

if __name__ == "__main__":
    main()
