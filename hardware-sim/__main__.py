"""`python hardware-sim ...`: the meter simulator, from a checkout or from where it is installed."""

import sys
from pathlib import Path

if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    sys.path[:0] = [str(here), str(here.parent)]

    try:
        from meter_sim.cli import main
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in {"meter_sim", "drivers", "wire"}:
            raise
        needs = f"needs the Python package {error.name}, which this Python has not"
        step = "set it up with `make demo`, then run it with .venv/bin/python"
        sys.stderr.write(f"hardware-sim: {needs}; {step}\n")
        sys.exit(69)  # EX_UNAVAILABLE

    sys.exit(main())
