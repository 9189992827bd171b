"""A network together with everything that was calibrated for it."""

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from device.errors import DataError, UsageError
from export.calibration.calibrate import calibrate
from export.calibration.card import ModelCard, read_card
from export.calibration.last_exit import ending_at
from export.calibration.table import TableFile
from export.data.classes import check_classes
from export.data.images import Dataset
from export.networks.model_files import ModelFiles, own_table, shipped
from export.networks.sdn import SDN, folded
from export.networks.weights import load_network


class CalibratedModel(NamedTuple):
    """A trained network. ``identity``: the SHA-256 of its weights. ``thresholds``: one for each RAD in percent.
    ``last_exits``: where frames leave at the latest, from 1, if they are made to, for each RAD that it is calibrated for.
    ``table``: the one that was learned on these weights, where there is one."""

    name: str
    network: SDN
    identity: str
    costs: list[float]
    thresholds: dict[int, float]
    last_exits: Mapping[int, int] = MappingProxyType({})
    table: TableFile | None = None

    def own_table(self) -> TableFile:
        """``table``.

        Raises:
            DataError: there is none.
        """
        if self.table is None:
            raise DataError(
                f"found no table of these weights of {self.name}; expected the one that was learned on them; learn it with: "
                f"python -m export table --model {self.name}"
            )
        return self.table

    def last_exit(self, rad: int) -> int:
        """The exit, from 1, at which every frame leaves at the latest where the network ends early for ``rad``.

        Raises:
            UsageError: the model card names no last exit for ``rad``.
        """
        if rad not in self.last_exits:
            raise UsageError(
                f"found a calibration of {self.name} without a last exit for RAD {rad}; expected one; make it again with: "
                f"python -m export calibrate --model {self.name}"
            )
        return self.last_exits[rad]

    def up_to_exit(self, last: int) -> "CalibratedModel":
        """The same model with a network that ends at exit ``last``, from 1: what an attacker sees who looks at the exits
        before ``last`` only, or who knows that the network ends there.

        Raises:
            UsageError: there is no such exit, or no exit before it.
        """
        exits = len(self.network.ics) + 1
        if not 2 <= last <= exits:
            raise UsageError(f"found exit {last} to attack up to; expected 2 to {exits}, the exits of {self.name}")
        if last == exits:
            return self
        return self._replace(network=ending_at(self.network, last), identity=f"{self.identity} to exit {last}")


def shipped_model(model: str) -> CalibratedModel:
    """A network of models/ with its calibration and its table.

    Raises:
        DataError: one of them is absent or of another one.
    """
    files = shipped(model)
    return _model(files, load_network(model), read_card(files), own_table(files))


def calibrated_model(files: ModelFiles, data: Dataset) -> CalibratedModel:
    """A network with the calibration and the table that belong to it.

    Raises:
        DataError: no weights, no card or table of them, or data of other classes.
    """
    network, card, table = load_network(files.model, files.weights), read_card(files), own_table(files)
    check_classes(network, data, card.classes)
    return _model(files, network, card, table)


def model_to_evaluate(files: ModelFiles, data: Dataset) -> CalibratedModel:
    """The same, but calibrated here, on the calibration images, where there is no card yet, and without a table where there
    is none of these weights."""
    network = load_network(files.model, files.weights)
    card = read_card(files) if files.card.is_file() else calibrate(files, network, data)
    check_classes(network, data, card.classes)
    try:
        table = own_table(files)
    except DataError as error:
        print(f"defences that take the network's table cannot be evaluated: {error}", file=sys.stderr)
        table = None
    return _model(files, network, card, table)


def _model(files: ModelFiles, network: SDN, card: ModelCard, table: TableFile | None) -> CalibratedModel:
    thresholds = {rad: float(point.threshold) for rad, point in card.thresholds.items()}
    last_exits = {rad: each.exit for rad, each in card.last_exits.items()}
    identity, costs = str(card.weights_sha256), list(card.relative_costs)
    return CalibratedModel(files.model, folded(network), identity, costs, thresholds, last_exits, table)
