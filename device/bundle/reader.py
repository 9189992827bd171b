"""Reads bundles: the folder (or the same as .tar.gz) that export/ writes for a device and its host.

Every file is checked against the SHA-256 in manifest.json when it is read, and handed on as bytes, so that what was
checked is what gets used. Nothing is unpacked to disk.
"""

import hashlib
import io
import os
import pkgutil
import re
import tarfile
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from device.bundle.archive import read_archive
from device.bundle.calibration import EXPORT_AGAIN, read_calibration
from device.bundle.onnx_file import external_tensor
from device.defence.ceiling import CeilingSettings, check_ceiling
from device.defence.gate import Gate
from device.defence.monitor import ExitShares
from device.errors import BundleError, DataError, UsageError
from device.pictures.fit import FITS, FITS_TOLD, STRETCH
from device.system.files import is_file, is_folder, read_bounded, write_file
from device.system.json_text import read_json, shown

FORMAT = "sdn-edge-bundle"
FLOAT32, INT8 = "float32", "int8"  # what the blocks of a graph compute with
FORMAT_VERSION = 1
FORMAT_VERSION_WITHOUT_TAIL = 2
"""Of bundles with all exits on the device. Readers of earlier releases, which take a tail for granted, refuse it as newer."""
HEADS, TAIL = ("head", "head_flat"), "tail"
# One for each payload form, all optional. Their names are read from the folder, because the forms import this module
FORMS_FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "payload", "forms")
FORM_GRAPHS = tuple("from_" + module.name for module in pkgutil.iter_modules([FORMS_FOLDER]))
KNOWN = frozenset((*HEADS, TAIL, *FORM_GRAPHS, "fit"))
"""What ``requires`` of a manifest may name: that without which a bundle must not be used. ``fit``: frames are not stretched."""
MAX_FILE_BYTES = 1 << 30
MAX_MANIFEST_BYTES = 1 << 20
MAX_ELEMENTS = 1 << 26  # of an input or an activation
PLAIN = re.compile(r"(?!\.)[\w.-]{1,100}", re.ASCII)  # names of files, the id: part of a path, of a request
SHA256 = re.compile("[0-9a-f]{64}")


class Bundle(NamedTuple):
    """A checked manifest. ``read`` gives the files it names."""

    path: str
    id: str
    """<model>-split<k>-<first 8 hex digits of the tail's SHA-256>; the host serves the tail under this name. Without a tail:
    <model>-splitall-<first 8 hex digits of the head's SHA-256>."""
    model: str
    split: int
    """k: exits 1..k are on the device. The last of them is the final classifier where there is no tail."""
    labels: List[str]
    input_shape: Tuple[int, int, int]
    """(channels, height, width) of the network's input, float32 in [0, 1], RGB."""
    fit: str
    """How frames are brought to this height and width: ``crop``, ``letterbox`` or ``stretch`` (device/pictures/fit.py)."""
    activation_shape: Tuple[int, ...]
    """Shape of what the head hands to the tail, without the batch axis, float32; empty where there is no tail."""
    relative_costs: List[float]
    """Of every exit, ascending, the last 1.0."""
    thresholds: Dict[int, float]
    """Relative accuracy drop in percent -> threshold in [0, 1]."""
    default_rad: int
    table: np.ndarray
    """Q_def, float32 (8, 8), in units of pixels 0..255."""
    defq_fused: bool
    """The head applies DefQ itself and has an input ``defq``, bool (1,), that switches it."""
    gate: Optional[Gate]
    """For DefQ on noisy frames alone; None where it is not calibrated."""
    monitor: Dict[int, ExitShares]
    """Relative accuracy drop in percent -> shares of exits for the attack monitor; empty where it is not calibrated."""
    ceiling: Dict[int, CeilingSettings]
    """Relative accuracy drop in percent -> the ceiling that a camera gets by default; empty where the bundle has none."""
    graphs: Dict[str, str]
    """``head``, ``head_flat``, and where the bundle has them ``tail``, ``from_uint8``, ``from_coefficients``: what a host
    runs before the tail for these payload forms -> file name."""
    precision: Dict[str, str]
    """What the blocks of each of ``graphs`` compute with: FLOAT32 or INT8. Inputs and outputs are float32 in both."""
    activation_levels: int
    """Steps between the lowest and the highest value of an activation that is sent as uint8."""
    manifest: Dict[str, Any]
    files: Dict[str, bytes]
    """The contents of a .tar.gz; empty for a folder."""

    @property
    def has_tail(self) -> bool:
        """Whether there is work for a host. Without a tail, all exits and the final classifier are on the device."""
        return TAIL in self.graphs

    def read(self, graph: str) -> bytes:
        """The bytes of one of ``graphs``, checked.

        Raises:
            BundleError: the bundle has no such graph, or its file is absent, of another size, changed since the export, no ONNX graph, or one with weights in files of
                their own: no SHA-256 would cover these, and their place would depend on the working directory.
        """
        if graph not in self.graphs:
            raise BundleError("found no {} in bundle {}, which has all exits on the device; expected a bundle with a part for a host; "
                              "export one, as in: defq bundle --model {} --split 3 --out build/{}".format(
                                  graph, self.path, self.model, self.model))  # fmt: skip
        name = self.graphs[graph]
        content = self.read_file(name)
        try:
            elsewhere = external_tensor(content)
        except ValueError as error:
            raise BundleError(
                "found no ONNX graph in {} of {} ({}); {}".format(name, self.path, error, EXPORT_AGAIN)
            ) from error
        if elsewhere is not None:
            raise BundleError("found that tensor {} of {} in {} lies in another file; expected all weights within the graph; "
                              "{}".format(shown(elsewhere), name, self.path, EXPORT_AGAIN))  # fmt: skip
        return content

    def read_file(self, name: str) -> bytes:
        """The bytes of any file that the manifest names, checked.

        Raises:
            BundleError: absent, of another size, or changed since the export.
        """
        return _checked(self.path, self.files, self.manifest, name)

    def label_name(self, label: int) -> str:
        """What a label of the graphs is called.

        Raises:
            BundleError: the bundle names fewer classes than its graphs have.
        """
        if not 0 <= label < len(self.labels):
            raise BundleError("found label {} from the graphs of {}, whose labels.txt names {} classes, 0 to {}; expected a name "
                              "for each class of the network; {}".format(
                                  label, self.path, len(self.labels), len(self.labels) - 1, EXPORT_AGAIN))  # fmt: skip
        return self.labels[label]

    def threshold(self, rad: int) -> float:
        """The threshold for a relative accuracy drop of ``rad`` percent.

        Raises:
            UsageError: the bundle was not calibrated for it.
        """
        if rad not in self.thresholds:
            known = " or ".join(str(each) for each in sorted(self.thresholds))
            raise UsageError(
                "found --rad {}; expected {}, which bundle {} is calibrated for".format(rad, known, self.path)
            )
        return self.thresholds[rad]


def load_bundle(path: str) -> Bundle:
    """Read and check a bundle's manifest, labels and table; the graphs are checked when they are read.

    Args:
        path: a folder or a .tar.gz.

    Raises:
        BundleError: absent, incomplete, changed, of a newer format, or put together from two exports.
    """
    path = str(path)
    files: Dict[str, bytes] = {}
    if is_folder(path):
        raw = _read_file(os.path.join(path, "manifest.json"), MAX_MANIFEST_BYTES)
    elif is_file(path):
        files = read_archive(path, MAX_FILE_BYTES)
        if "manifest.json" not in files:
            raise BundleError("found no manifest.json in {}; expected a bundle; {}".format(path, EXPORT_AGAIN))
        raw = files["manifest.json"]
    else:
        raise BundleError("found no bundle at {}; expected a folder or a .tar.gz; {}".format(path, EXPORT_AGAIN))
    try:
        manifest = read_json(raw)
    except ValueError as error:
        raise BundleError(
            "could not read the manifest of {} ({}); expected JSON; {}".format(path, error, EXPORT_AGAIN)
        ) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise BundleError(
            "found format {} in the manifest of {}; expected {!r}; {}".format(shown(found), path, FORMAT, EXPORT_AGAIN)
        )
    version = manifest.get("format_version")
    if version not in (FORMAT_VERSION, FORMAT_VERSION_WITHOUT_TAIL):
        raise BundleError("found format version {} in {}; this release reads versions {} and {}; update it, or export the "
                          "bundle again with this release".format(
                              shown(version), path, FORMAT_VERSION, FORMAT_VERSION_WITHOUT_TAIL))  # fmt: skip
    try:
        return _checked_bundle(path, files, manifest)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise BundleError("the manifest of {} is incomplete or malformed ({}: {}); {}".format(
            path, type(error).__name__, str(error)[:300], EXPORT_AGAIN)) from error  # fmt: skip


def _checked_bundle(path: str, files: Dict[str, bytes], manifest: Dict[str, Any]) -> Bundle:
    """Check what a manifest says; anything missing or of a wrong type raises KeyError, TypeError or ValueError."""
    for name, listed in manifest["files"].items():
        _expect(PLAIN.fullmatch(name) is not None, "no plain file name {}".format(shown(name)))
        _expect(SHA256.fullmatch(listed["sha256"]) is not None, "no SHA-256 of {}".format(name))
        _expect(type(listed["bytes"]) is int, "no size of {}".format(name))
    for key in ("id", "model"):
        _expect(PLAIN.fullmatch(manifest[key]) is not None, "{} as {!r}".format(shown(manifest[key]), key))
    split = int(manifest["split"])
    shape = _shape(manifest["input"]["shape"], 3)
    fit = manifest["input"].get("fit", STRETCH)  # absent in bundles of earlier releases
    if fit not in FITS:
        raise BundleError("found that {} fits frames by {}; expected {}; update this release, or export the bundle again with "
                          "it".format(path, shown(fit), FITS_TOLD))  # fmt: skip
    costs = [float(each["relative_cost"]) for each in manifest["exits"]]
    thresholds = {int(rad): float(value) for rad, value in manifest["thresholds"].items()}
    default_rad = int(manifest["default_rad"])
    has_tail = manifest["format_version"] == FORMAT_VERSION
    optional = [name for name in FORM_GRAPHS if name in manifest["graphs"]]
    names = [*HEADS, TAIL, *optional] if has_tail else HEADS
    graphs = {name: str(manifest["graphs"][name]["file"]) for name in names}
    # absent before there were graphs in int8; new forms need not be known, since the graph says how it computes
    precision = {name: str(manifest["graphs"][name].get("precision", FLOAT32)) for name in graphs}
    unknown = sorted(set(map(str, manifest.get("requires", []))) - KNOWN)
    if unknown:
        raise BundleError("found that {} requires {}, which this release does not know; expected {}; update this release, or "
                          "export the bundle again with it".format(
                              path, shown(", ".join(unknown)), ", ".join(sorted(KNOWN))))  # fmt: skip
    levels = (
        int(manifest["activation"].get("levels", 255)) if has_tail else 255
    )  # absent before there were payload forms
    _expect(
        1 <= split < len(costs) if has_tail else split == len(costs) > 1,
        "split {} of {} exits".format(split, len(costs)),
    )
    _expect(1 <= levels <= 255, "{} levels of an activation".format(levels))
    _expect(shape[0] in (1, 3), "input shape {}".format(shape))
    rises = costs == sorted(costs) and (not has_tail or costs[split - 1] < costs[-1])
    _expect(rises and all(0 < cost < 1 + 1e-6 for cost in costs), "relative costs that do not rise, to 1 at most")
    _expect(default_rad in thresholds, "no threshold for the default RAD {}".format(default_rad))
    _expect(all(0 <= value <= 1 for value in thresholds.values()), "thresholds {}".format(thresholds))
    named_by = TAIL if has_tail else HEADS[0]
    digest = manifest["files"][graphs[named_by]]["sha256"]
    if not str(manifest["id"]).endswith(bundle_id("", split if has_tail else None, digest)):
        raise BundleError("found the {} {} in bundle {}, whose id is {}; expected the {} of the same export; {}".format(
            named_by, digest[:8], path, manifest["id"], named_by, EXPORT_AGAIN))  # fmt: skip
    labels = _checked(path, files, manifest, "labels.txt", MAX_MANIFEST_BYTES).decode("utf-8").splitlines()
    _expect(labels == list(manifest["labels"]) and len(labels) >= 2, "labels that differ from labels.txt")
    _expect(all(label.isprintable() for label in labels), "labels that cannot be printed")
    table_file = str(manifest["defq"]["file"])
    content = read_json(_checked(path, files, manifest, table_file, MAX_MANIFEST_BYTES))
    try:
        calibration = read_calibration(content, len(costs), thresholds, table_file)
    except DataError as error:
        raise BundleError("{} (in bundle {})".format(error, path)) from error
    return Bundle(
        path=path, id=str(manifest["id"]), model=str(manifest["model"]), split=split, labels=labels,
        input_shape=(shape[0], shape[1], shape[2]), fit=fit, activation_shape=_shape(manifest["activation"]["shape"]) if has_tail else (),
        relative_costs=costs, thresholds=thresholds, default_rad=default_rad, table=calibration.table,
        defq_fused=bool(manifest["defq"]["fused"]), gate=calibration.gate, monitor=calibration.monitor,
        ceiling=check_ceiling(manifest.get("ceiling"), thresholds) if has_tail else {}, graphs=graphs, precision=precision,
        activation_levels=levels,
        manifest=manifest, files=files,
    )  # fmt: skip


def bundle_id(model: str, split: Optional[int], sha256: str) -> str:
    """The name of a bundle.

    Args:
        split: exits on the device; None for all of them.
        sha256: in hex, of the tail, or of the head where all exits are on the device.
    """
    return "{}-split{}-{}".format(model, "all" if split is None else split, sha256[:8])


def _expect(condition: bool, found: str) -> None:
    if not condition:
        raise ValueError("found " + found)


def _shape(values: Any, rank: int = 0) -> Tuple[int, ...]:
    shape = tuple(int(each) for each in values)
    _expect(0 < len(shape) <= 8 and rank in (0, len(shape)) and min(shape) > 0, "shape {}".format(shown(shape)))
    elements = 1
    for each in shape:
        elements *= each
    _expect(elements <= MAX_ELEMENTS, "shape {}".format(shown(shape)))
    return shape


def _checked(
    path: str, files: Dict[str, bytes], manifest: Dict[str, Any], name: str, limit: int = MAX_FILE_BYTES
) -> bytes:
    """A file of the bundle, with the size and SHA-256 that the manifest states."""
    listed = manifest["files"].get(name)
    if listed is None:
        raise BundleError("found no {} in the manifest of {}; {}".format(shown(name), path, EXPORT_AGAIN))
    if files:
        if name not in files:
            raise BundleError("found no {} in {}; the archive is incomplete: copy it again".format(name, path))
        content = files[name]
        if len(content) > limit:
            raise BundleError("found {} bytes in {} of {}; expected at most {}; {}".format(
                len(content), name, path, limit, EXPORT_AGAIN))  # fmt: skip
    else:
        content = _read_file(os.path.join(path, name), limit)
    digest = hashlib.sha256(content).hexdigest()
    if digest != listed["sha256"]:
        raise BundleError(
            "found {} bytes with SHA-256 {} in {} of bundle {}; its manifest says {} bytes with {}; the file was changed "
            "or belongs to another bundle: copy the whole bundle again".format(
                len(content), digest[:16], name, path, listed["bytes"], str(listed["sha256"])[:16])
        )  # fmt: skip
    return content


def _read_file(name: str, limit: int) -> bytes:
    try:
        return read_bounded(name, limit)
    except OSError as error:
        raise BundleError(
            "could not read {} ({}); expected a complete bundle; {}".format(name, error.strerror, EXPORT_AGAIN)
        ) from error
    except ValueError as error:
        raise BundleError("{}; expected a file of a bundle; {}".format(error, EXPORT_AGAIN)) from error


def pack_bundle(folder: str, archive: str) -> None:
    """Write the files that a bundle's manifest names, and the manifest, as one .tar.gz.

    Raises:
        OutputError: it cannot be written; an archive that was there stays.
    """
    bundle = load_bundle(folder)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as out:
        for name in ["manifest.json", *sorted(bundle.manifest["files"])]:
            content = _read_file(os.path.join(folder, name), MAX_FILE_BYTES)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))
    write_file(archive, packed.getvalue(), "--out")
