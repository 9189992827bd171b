"""The payload forms as ONNX graphs, which a host runs before the tail: one file a form, named as the form, with its check."""
