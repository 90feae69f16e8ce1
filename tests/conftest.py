"""For all tests: what a shell that runs them in the background would otherwise change."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A job in the background ignores Ctrl-C and so would every program that a test starts and ends by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
