"""Engines run the head of a bundle: one file a back end. `open.py` chooses among them."""
