"""The step that writes report.md and its pictures."""

import numpy as np

from device.bundle.reader import load_bundle
from device.errors import DataError
from device.system.files import read_bounded
from export.calibration.attacked_images import attacked, scores_of
from export.calibration.cost import score
from export.data.frames import to_pixels
from export.data.output import write_output
from export.defences import defence_named
from export.fit import pictures
from export.fit.bundle_step import FOLDER as BUNDLE
from export.fit.defence_steps import MEASURES, measured, row_of
from export.fit.findings import Findings
from export.fit.job import FitJob
from export.fit.network_steps import SCAN
from export.fit.pictures import Judged
from export.fit.report import report
from export.fit.settings import RAD, hash_of
from export.fit.state import Hashes
from export.fit.step import Done, Step, file_hash
from export.fit.traffic import measured_traffic
from export.networks.model_files import shown
from export.networks.weights import to_tensor

FILE, PICTURES = "report.md", "report"
NAMES = ("samples", "answers", "exits", "costs", "confusion", "attack", "leaving")
MOST_SCAN_BYTES = 1 << 22
LEAVING = (
    ("clean", "none", "clean"),
    ("linf", "none", "attacked"),
    ("linf", "defq", "attacked + DefQ"),
    ("clean", "defq", "clean + DefQ"),
)


class Report(Step):
    """Writes what was made and measured, for people."""

    name = "report"

    def inputs(self, job: FitJob) -> Hashes:
        return {
            "scan": file_hash(job.folder / SCAN),
            "card": file_hash(job.files.card),
            "table": file_hash(job.files.table),
            "figures": file_hash(job.folder / MEASURES),
            "bundle": file_hash(job.folder / BUNDLE / "manifest.json"),
            "photographs": job.photographs_hash,
            "test photographs": job.test_hash,
            "parts that were left out": hash_of(
                {name: record.left_out for name, record in job.state.steps.items() if record.left_out}
            ),
        }

    def outputs(self, job: FitJob) -> Hashes:
        files = [FILE, *(f"{PICTURES}/{name}.png" for name in NAMES)]
        return {file: file_hash(job.folder / file) for file in files}

    def expected_s(self, job: FitJob) -> float:
        return 8 + (2 * job.effort.test + len(job.data.test.labels)) * job.effort.score_s

    def run(self, job: FitJob) -> Done:
        data, model, rows = job.data, job.model(), measured(job)
        scores = scores_of(model, to_tensor(data.test.pixels))
        final = Judged(data.test.pixels, data.test.labels, scores)
        bundle = load_bundle(str(job.folder / BUNDLE))
        histograms = [(title, row_of(rows, attack, defence).exit_histogram) for attack, defence, title in LEAVING]
        drawn = {
            "samples": pictures.samples(data.train, data.classes),
            "answers": pictures.answers(final, data.classes, model.thresholds[RAD]),
            "exits": pictures.exits(model),
            "costs": pictures.costs(model, final),
            "confusion": pictures.confusion(final, data.classes),
            "attack": pictures.attacked(model, _kinds(job), data.classes, model.thresholds[RAD]),
            "leaving": pictures.leaving(histograms, bundle.split),
        }
        for name in NAMES:
            write_output(job.folder / PICTURES / f"{name}.png", drawn[name])
        found = Findings(
            settings=job.settings,
            data=data,
            scan=_scan(job),
            model=model,
            effort=job.effort,
            final=final,
            rows=rows,
            steps=dict(job.state.steps),
            photographs=shown(job.photographs),
            model_folder=shown(job.folder),
            bundle=shown(job.folder / BUNDLE),
            split=bundle.split,
            traffic=measured_traffic(bundle, data.test.pixels),
        )
        write_output(job.folder / FILE, report(found))
        return Done(f"{shown(job.folder / FILE)} and {len(NAMES)} pictures")


def _scan(job: FitJob) -> str:
    """What the step scan has written."""
    file = job.folder / SCAN
    try:
        return read_bounded(str(file), MOST_SCAN_BYTES).decode(errors="replace")
    except (OSError, ValueError) as error:
        raise DataError(f"could not read {file} ({error}); expected what the step scan wrote; remove it") from error


def _kinds(job: FitJob) -> dict[str, Judged]:
    """Test photographs clean, attacked, and attacked behind DefQ."""
    model, images = job.model(), job.data.test.take(job.effort.test)
    harmed = to_pixels(attacked("linf", model, job.data, images, defence_named("none")))
    table = model.own_table().steps
    shown_as: dict[str, np.ndarray] = {
        "clean": images.pixels,
        "attacked": harmed,
        "defended": pictures.defended(harmed, table),
    }
    return {name: Judged(pixels, images.labels, score(model.network, pixels)) for name, pixels in shown_as.items()}
