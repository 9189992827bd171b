"""Number of replicas of a cluster, and when it changes."""

import os
import re
from dataclasses import dataclass
from typing import Any

from device.errors import UsageError

MOST_ON_CLUSTER = 32  # largest number of replicas with --replicas auto on an existing cluster, which may grow with them
CALLS_WANTED = 1.2  # calls that a replica has, running or waiting, before another replica is worth while


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Settings of a cluster.

    Attributes:
        replicas: smallest and largest number of replicas.
        threads: threads of ONNX Runtime in a replica, and CPUs that Ray reserves for it.
        upscale_s: seconds for which more replicas must have been needed before one is added.
        downscale_s: seconds for which fewer replicas must have been enough before one is removed.
    """

    replicas: tuple[int, int]
    threads: int = 1
    upscale_s: float = 3.0
    downscale_s: float = 60.0

    def scale(self) -> dict[str, Any]:
        """The number of replicas as options of a Ray Serve deployment."""
        least, most = self.replicas
        if most == least:
            return {"num_replicas": least}
        # A dispatcher keeps up to two calls at a replica, one that runs and one that waits. So a replica with more than 1.2
        # calls has more work than it can do, and one with far less than one call is idle part of the time.
        return {
            "autoscaling_config": {
                "min_replicas": least,
                "max_replicas": most,
                "target_ongoing_requests": CALLS_WANTED,
                "upscale_delay_s": self.upscale_s,
                "downscale_delay_s": self.downscale_s,
                "look_back_period_s": 11.0,  # must be longer than the 10 s between two reports of Ray
            }
        }


def parse_replicas(text: str, on_existing_cluster: bool, threads: int) -> tuple[int, int]:
    """Smallest and largest number of replicas of an option such as ``3``, ``2-8`` or ``auto``.

    Raises:
        UsageError: the text has another form.
    """
    if text == "auto":
        most = MOST_ON_CLUSTER if on_existing_cluster else max(1, (os.cpu_count() or 1) // threads)
        return min(2, most), most  # two replicas, so that frames are answered while one is replaced
    found = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", text, re.ASCII)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most:
        raise UsageError(f"found --replicas {text}; expected a number from 1, least-most such as 2-8, or auto")
    return least, most
