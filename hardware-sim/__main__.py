"""`python hardware-sim ...`: the meter simulator, from a checkout or from where it is installed."""

import sys
from pathlib import Path

if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    sys.path[:0] = [str(here), str(here.parent)]

    from meter_sim.cli import main

    sys.exit(main())
