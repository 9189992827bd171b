"""python -m host: serve | cluster | keys."""

from device.commands.cli import dispatch

COMMANDS = {
    "serve": ("host.serving.serve", "Answer frames that did not exit on a device."),
    "cluster": ("host.cluster.command", "Serve from as many processes and machines as the traffic needs, by Ray Serve."),
    "keys": ("host.credentials.keys", "Make keys, certificates and tokens for the host and its devices."),
}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run one command; serve needs no Ray, keys no ONNX Runtime."""
    return dispatch("python -m host", "The host of early-exit devices.", COMMANDS, argv)
