"""The step that writes the bundle."""

import json

from device.bundle.reader import load_bundle
from device.errors import DataError, InputError
from export.bundle.settings import BundleSettings
from export.bundle.writer import export_bundle
from export.calibration.split_choice import choose_split
from export.fit.job import FitJob
from export.fit.settings import RAD
from export.fit.state import Hashes
from export.fit.step import CRAFTING, Done, Step, file_hash

FOLDER = "bundle"


class Bundle(Step):
    """Exports head, tail, table, gate, monitor and frame set for a device and its host."""

    name, kind = "bundle", CRAFTING

    def inputs(self, job: FitJob) -> Hashes:
        return {
            "card": file_hash(job.files.card),
            "table": file_hash(job.files.table),
            "test photographs": job.test_hash,
            "number of frames": str(job.effort.test),
        }

    def outputs(self, job: FitJob) -> Hashes:
        folder = job.folder / FOLDER
        try:
            bundle = load_bundle(str(folder))
            for name in bundle.manifest["files"]:
                bundle.read_file(name)
        except InputError as error:
            raise DataError(str(error)) from error
        return {"bundle": file_hash(folder / "manifest.json")}

    def expected_s(self, job: FitJob) -> float:
        images = min(500, len(job.data.calibration.labels))
        return 5 + 5 * images * job.effort.gradient_s + 6 * job.effort.test * job.effort.score_s

    def run(self, job: FitJob) -> Done:
        card = job.card()
        split = choose_split(card.shares[RAD], card.relative_costs)
        folder = job.folder / FOLDER
        settings = BundleSettings(split=split, rad=RAD)
        export_bundle(job.settings.backbone, folder, settings, job.data, job.effort.test, job.files)
        size = sum(each["bytes"] for each in json.loads((folder / "manifest.json").read_text())["files"].values())
        return Done(
            f"{split} of {len(card.relative_costs) - 1} exits on the device, {size / 1e6:.1f} MB, with {job.effort.test} frames, clean and attacked"
        )
