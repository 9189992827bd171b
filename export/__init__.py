"""The workstation side: trains and calibrates networks, crafts attacks, learns Q_def and writes bundles."""

import os

# PyTorch's threads (GNU's OpenMP) wait for one another in a busy loop. Beside other work on the same processors this loop takes
# the time that the awaited thread needs: a step of training then took 4.1 s instead of 0.2 s. After so many turns of the loop, a
# thread now sleeps: 0.8 s beside the same work. It has to be set before PyTorch is imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
