"""`python -m meter_sim ...`, for the installed package."""

import sys

from meter_sim.cli import main

if __name__ == "__main__":
    sys.exit(main())
