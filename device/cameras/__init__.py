"""Sources of frames: one file a kind of source. `open.py` opens each by its URI."""
