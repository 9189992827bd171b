"""Power sensors: one file a sensor. `open.py` finds the sensors of this machine."""
