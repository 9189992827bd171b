"""Reads the hardened twin of a bundle: a second set of graphs and calibrations, which the controller uses under attack.

The exporter writes it (export/bundle/twin.py), and docs/defence/twin.md says what it is. The twin is read as a bundle of its own,
with the labels, the input and the files of the bundle that carries it, so that engines and defences take it as they take any.
"""

from typing import Any, NamedTuple, Optional

from device.bundle.calibration import EXPORT_AGAIN, read_calibration
from device.bundle.reader import FLOAT32, HEADS, Bundle
from device.errors import BundleError, DataError
from device.system.json_text import read_json

MEMBER = "twin"


class Twin(NamedTuple):
    """The hardened twin of a network, with all of its exits on the device."""

    bundle: Bundle
    """Head, exits, thresholds, table and monitor of the twin."""
    quantised: bool
    """Whether DefQ belongs before it."""


def read_twin(bundle: Bundle) -> Optional[Twin]:
    """The twin that a bundle carries; None where it carries none, or one that needs a host.

    Raises:
        BundleError: the twin's part of the manifest, or its table, is incomplete or malformed.
    """
    about = bundle.manifest.get(MEMBER)
    if about is None:
        return None
    try:
        if "tail" in about["graphs"]:
            return None
        return _checked(bundle, about)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, DataError) as error:
        raise BundleError("the hardened twin in {} is incomplete or malformed ({}: {}); {}".format(
            bundle.path, type(error).__name__, str(error)[:300], EXPORT_AGAIN)) from error  # fmt: skip


def _checked(bundle: Bundle, about: Any) -> Twin:
    costs = [float(each["relative_cost"]) for each in about["exits"]]
    if costs != sorted(costs) or not all(0 < cost < 1 + 1e-6 for cost in costs) or int(about["split"]) != len(costs):
        raise ValueError("found relative costs {} of {} exits on the device".format(costs, about["split"]))
    thresholds = {rad: float(about["thresholds"][str(rad)]) for rad in bundle.thresholds}
    if not all(0 <= value <= 1 for value in thresholds.values()):
        raise ValueError("found thresholds {}".format(thresholds))
    graphs = {name: str(about["graphs"][name]["file"]) for name in HEADS}
    file, before = str(about["defq"]["file"]), about["defq"]["before"]
    if not isinstance(before, bool):
        raise ValueError("found {!r} for DefQ before it".format(before))
    calibration = read_calibration(read_json(bundle.read_file(file)), len(costs), thresholds, file)
    twin = bundle._replace(
        split=len(costs), activation_shape=(), relative_costs=costs, thresholds=thresholds, table=calibration.table,
        defq_fused=False, gate=None, monitor=calibration.monitor, graphs=graphs, precision=dict.fromkeys(graphs, FLOAT32),
    )  # fmt: skip
    return Twin(twin, before)
