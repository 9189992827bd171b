"""A network together with everything that was calibrated for it."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from device.errors import DataError, UsageError
from export.calibration.calibrate import calibrate
from export.calibration.card import ModelCard, read_card
from export.calibration.table_file import TableFile
from export.calibration.table_reader import own_table
from export.data.classes import check_classes
from export.data.images import Dataset
from export.networks.exits import ending_at
from export.networks.loading import load_network
from export.networks.model_files import ModelFiles, shipped
from export.networks.sdn import SDN, folded


@dataclass(frozen=True, slots=True, eq=False)
class CalibratedModel:
    """A trained network with its card and its table.

    Args:
        name: of the network, as reports say it.
        network: in evaluation mode.
        card: what was measured of it.
        table: the table that was learned on its weights; None where there is none.
        identity: under which attacked images are kept: the SHA-256 of the weights, and the exit at which the network ends
            where that is not the final classifier.
        attacks: the folder that keeps them; None: the one for all models (export/attacks/crafting.py).
    """

    name: str
    network: SDN
    card: ModelCard
    table: TableFile | None
    identity: str
    attacks: Path | None = None

    @property
    def costs(self) -> list[float]:
        """Relative cost of every exit, ascending, the last 1.0."""
        return list(self.card.relative_costs)

    @property
    def thresholds(self) -> dict[int, float]:
        """The threshold for each RAD in percent."""
        return {rad: float(point.threshold) for rad, point in self.card.thresholds.items()}

    def own_table(self) -> TableFile:
        """The table that was learned on these weights.

        Raises:
            DataError: there is none.
        """
        if self.table is None:
            raise DataError(
                f"found no table of these weights of {self.name}; expected the one that was learned on them; learn it with: "
                f"defq table --model {self.name}"
            )
        return self.table

    def last_exit(self, rad: int) -> int:
        """The exit, from 1, at which a network that is shortened for ``rad`` ends.

        Raises:
            UsageError: the model card names no last exit for ``rad``.
        """
        if rad not in self.card.last_exits:
            raise UsageError(
                f"found a calibration of {self.name} without a last exit for RAD {rad}; expected one; make it again with: "
                f"defq calibrate --model {self.name}"
            )
        return self.card.last_exits[rad].exit

    def up_to_exit(self, last: int) -> "CalibratedModel":
        """The same with a network that ends at exit ``last``, from 1: what an attacker attacks who looks at the exits before
        ``last`` only, or who knows that the network ends there. The card stays that of the whole network.

        Raises:
            UsageError: there is no such exit, or no exit before it.
        """
        exits = len(self.network.ics) + 1
        if not 2 <= last <= exits:
            raise UsageError(f"found exit {last} to attack up to; expected 2 to {exits}, the exits of {self.name}")
        if last == exits:
            return self
        return replace(self, network=ending_at(self.network, last), identity=f"{self.identity} to exit {last}")


def shipped_model(name: str) -> CalibratedModel:
    """A network of models/ with its card and its table.

    Raises:
        DataError: one of them is absent or damaged, or belongs to other weights.
    """
    files = shipped(name)
    return _model(files, load_network(files), read_card(files), own_table(files))


def calibrated_model(files: ModelFiles, data: Dataset, without: str = "") -> CalibratedModel:
    """A network with the card and the table that belong to it.

    Args:
        data: must be of the classes of the network.
        without: a part of the table that is about to be made anew and is not read (table_file.read_table).

    Raises:
        DataError: weights, card or table are absent or damaged, or do not belong together; or the classes of the data are
            not those of the network.
    """
    network, card = load_network(files), read_card(files)
    table = own_table(files, without)
    check_classes(network, data, card.classes)
    return _model(files, network, card, table)


def model_to_evaluate(files: ModelFiles, data: Dataset) -> CalibratedModel:
    """The same for an evaluation, which needs less: without a card the network is calibrated here, on the calibration
    images, and without a table of its weights those defences that take none can be evaluated.

    Raises:
        DataError: weights or card are damaged, or the classes of the data are not those of the network.
    """
    network = load_network(files)
    card = read_card(files) if files.card.is_file() else calibrate(files, network, data)
    check_classes(network, data, card.classes)
    try:
        table = own_table(files)
    except DataError as error:
        print(f"defences that take the network's table cannot be evaluated: {error}", file=sys.stderr)
        table = None
    return _model(files, network, card, table)


def _model(files: ModelFiles, network: SDN, card: ModelCard, table: TableFile | None) -> CalibratedModel:
    return CalibratedModel(files.model, folded(network), card, table, str(card.weights_sha256), files.attacks)
