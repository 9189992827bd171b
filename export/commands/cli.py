"""python -m export: from images to weights, card, table and bundle, and the figures of all of them."""

from collections.abc import Sequence

from device.commands.cli import dispatch

COMMANDS = {
    "fit": ("export.commands.fit", "From a folder of photographs to a defended bundle and a report, in one command."),
    "scan": ("export.commands.scan", "Show what a folder of photographs holds, and what of it is in the way."),
    "train": ("export.commands.train", "Train a network; goes on from its checkpoint after a kill."),
    "harden": ("export.commands.harden", "Train the hardened twin of a network, which works while an attack goes on."),
    "calibrate": ("export.commands.calibrate", "Measure costs, accuracies and thresholds; write the model card."),
    "table": ("export.commands.table", "Learn Q_def by Algorithm 1 from DeepSloth L-inf."),
    "gate": ("export.commands.gate", "Calibrate the noise gate of a table."),
    "monitor": ("export.commands.monitor", "Calibrate the attack monitor of a table."),
    "search": ("export.commands.search", "Search a table that restores more than Q_def for a bounded loss on clean images."),
    "attack": ("export.commands.attack", "Write clean and attacked test images as .npz frames, or attack a device live."),
    "bundle": ("export.commands.bundle", "Export head, tail, thresholds and table for a device and its host."),
    "evaluate": ("export.commands.evaluate", "Measure attacks against defences, and write the reports."),
    "triton": ("export.commands.triton", "Write a bundle's tail as a model repository of NVIDIA Triton."),
    "kit": ("export.commands.kit", "Build a flash kit for a board."),
    "demo": ("export.commands.demo", "Export, attack, serve and run: the whole story in one table."),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Its module alone is imported: the help needs no PyTorch, and a flash kit none either."""
    return dispatch(
        "python -m export",
        "Train, calibrate, attack and export early-exit networks.",
        COMMANDS,
        None if argv is None else list(argv),
    )
