"""`python -m agent` is the `wattpost` command, for where no console script is installed."""

from __future__ import annotations

from agent.cli.main import main

if __name__ == "__main__":
    main()
