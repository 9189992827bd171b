"""Puts a sensor's time stamp on the clock of time.monotonic().

libcamera documents SensorTimestamp as CLOCK_BOOTTIME (control_ids_core.yaml), but what it hands on is the time stamp of the
kernel's V4L2 buffer, which is CLOCK_MONOTONIC on a Raspberry Pi (libcamera bug 254; picamera2 compares it with
time.monotonic_ns() itself, in wait_for_timestamp_). uvcvideo stamps CLOCK_MONOTONIC at the start of the exposure.
The two clocks differ by the time that a machine has been suspended: nothing on a board that never was. So the clock is
not assumed: the one counts on which the frame is neither from the future nor older than any frame in a queue can be.
"""

import time
from typing import Optional

CLOCK_BOOTTIME = 7  # <linux/time.h>; Python has a name for it from 3.7 on
OLDEST_S = 5.0


def exposure_s(sensor_s: float) -> Optional[float]:
    """When a frame was exposed.

    Args:
        sensor_s: the sensor's time stamp in seconds, CLOCK_MONOTONIC or CLOCK_BOOTTIME.

    Returns:
        the same moment on time.monotonic(); None where it fits neither clock, as with drivers that leave it 0.
    """
    now_s = time.monotonic()
    age_s = now_s - sensor_s
    if age_s < 0:
        age_s = time.clock_gettime(CLOCK_BOOTTIME) - sensor_s
    return now_s - age_s if 0 <= age_s <= OLDEST_S else None
