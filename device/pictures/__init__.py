"""Reads pictures from files that nobody has checked: within bounds, whole, and every failure is one DataError."""

from device.pictures.bounds import MAX_PIXELS
from device.pictures.formats import NAMES, SUFFIXES
from device.pictures.read import decode_picture, read_picture

__all__ = ["MAX_PIXELS", "NAMES", "SUFFIXES", "decode_picture", "read_picture"]
