"""python -m device preview: a page with the camera's picture, the exits, and an attack and DefQ to switch."""

from device.commands.preview import add_arguments, run

__all__ = ["add_arguments", "run"]
