"""Reads pictures from files that nobody has checked: within bounds, whole, and every failure is one DataError."""
