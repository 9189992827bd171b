"""A network that ends at its last exit, with the card and the table that belong to it."""

from dataclasses import replace

from device.errors import DataError
from export.calibration.card import ModelCard
from export.calibration.table_file import TableFile
from export.networks.exits import ending_at
from export.networks.sdn import SDN


def shortened(network: SDN, card: ModelCard, table: TableFile, rad: int) -> tuple[SDN, ModelCard, TableFile]:
    """The network up to the card's last exit for ``rad``, whose classifier becomes the final one, with the card and the
    table for it. Costs stay relative to the whole network.

    Args:
        network: in evaluation mode; the modules are shared with the result.

    Raises:
        DataError: the card has no last exit for ``rad``.
    """
    if rad not in card.last_exits:
        raise DataError(
            f"found a calibration without a last exit for RAD {rad}; expected one; make it again with: "
            f"defq calibrate --model {card.model or 'mobilenet'}"
        )
    found = card.last_exits[rad]
    last = found.exit
    if last == len(card.relative_costs):
        return network, card, table
    card = replace(
        card,
        thresholds=found.thresholds,
        relative_costs=card.relative_costs[:last],
        accuracy_calibration=card.accuracy_calibration[:last],
        accuracy_test=card.accuracy_test[:last],
        shares={each: _merged(shares, last) for each, shares in card.shares.items()},
    )
    return ending_at(network, last), card, table.ending_at(rad, last)


def _merged(shares: tuple[float, ...], last: int) -> tuple[float, ...]:
    """Shares of frames by exit, where those of later exits leave at the last one."""
    return (*shares[: last - 1], round(sum(shares[last - 1 :]), 4))
