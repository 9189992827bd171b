"""How long a thread of PyTorch waits before it sleeps."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_sleep_unless_the_user_says_otherwise(given, expected):
    clean = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    program = "import export, os, sys; print(os.environ.get('GOMP_SPINCOUNT')); assert 'torch' not in sys.modules"
    run = subprocess.run(
        [sys.executable, "-c", program], env={**clean, **given}, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == expected
