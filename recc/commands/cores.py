"""Living with other processes on the same cores."""

from __future__ import annotations

import os
import sys


def share_cores() -> None:
    """Let torch's threads wait actively for microseconds only, unless the user says how they wait.

    GNU OpenMP spins for milliseconds by default. Beside another busy process each of the hundreds of small
    operations of a training step then waits for a thread that has no core: measured at 800 bytes/s where
    there are 13,000 this way, and no loss on an idle machine. Read when torch is loaded.
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
