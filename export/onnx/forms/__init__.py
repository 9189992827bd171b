"""The payload forms as ONNX graphs, which a host runs before the tail: one file a form, with its check. `find.py` finds them."""
