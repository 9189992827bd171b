"""python -m device preview: a page with the camera's picture, the exits, and an attack and DefQ to switch."""

from device.preview.command import add_arguments, run

__all__ = ["add_arguments", "run"]
