"""The steps that make the network: scan, trial, training, calibration."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from device.errors import DataError
from device.system.console import duration, warn
from export.attacks.crafting import FOLDER as ATTACKS
from export.calibration.calibrate import calibrate
from export.calibration.card import write_card
from export.calibration.card_page import write_card_page
from export.calibration.trained_network import trained_network, write_trained
from export.data.backgrounds import SHARE
from export.data.output import write_output
from export.data.scan import files_hash, scan_folder
from export.data.scan_report import lines, page
from export.fit.effort import allowed_s, chosen_effort
from export.fit.job import FitJob
from export.fit.settings import RAD, hash_of
from export.fit.state import Hashes
from export.fit.step import TRAINING, Done, Step, file_hash
from export.networks.loading import build_network, load_network
from export.networks.pretrained import installed
from export.networks.recipes import recipe_for
from export.networks.spec import Recipe
from export.networks.user_code import spec_of

SCAN, CHECKPOINT = "scan.md", "training-{}.checkpoint"
FIRST_WEIGHTS, RANDOM = "first weights", "random"
"""Of the inputs of the training, and their value where there were none."""


def recipe_of(job: FitJob) -> Recipe:
    """How the network is trained."""
    settings = job.settings
    recipe = recipe_for(spec_of(settings.backbone, job.code), job.data, trained=bool(installed(settings.backbone)))
    epochs = settings.epochs or recipe.epochs
    pasted = SHARE if settings.backgrounds else 0.0
    return replace(recipe, epochs=epochs, frozen=settings.frozen, flips=settings.flips, pasted=pasted)


class Scan(Step):
    """Shows what the folder of photographs holds, and reads all of them."""

    name = "scan"

    def inputs(self, job: FitJob) -> Hashes:
        return {
            "photographs": files_hash(job.photographs),
            "size": str(job.settings.size),
            "groups": job.settings.group,
        }

    def outputs(self, job: FitJob) -> Hashes:
        return {SCAN: file_hash(job.folder / SCAN)}

    def expected_s(self, job: FitJob) -> float:
        return 0

    def run(self, job: FitJob) -> Done:
        scan = scan_folder(job.photographs, job.size, job.settings.group)
        print("\n".join(lines(scan)), flush=True)
        if scan.problems:
            first, *others = scan.problems
            for problem in others:
                warn(str(problem))
            raise first
        write_output(job.folder / SCAN, page(scan))
        data = job.data
        parts = (("to train", data.train), ("to calibrate", data.calibration), ("to test", data.test))
        counts = ", ".join(f"{len(part.labels)} {name}" for name, part in parts)
        return Done(f"{len(data.classes)} classes; {counts}")


class Trial(Step):
    """Measures how fast this machine is, and chooses how many photographs are attacked."""

    name = "trial"

    def inputs(self, job: FitJob) -> Hashes:
        data, settings = job.data, job.settings
        counts = [len(part.labels) for part in (data.train, data.calibration, data.test)]
        return {
            "backbone": job.network_hash,
            "size": str(settings.size),
            "number of photographs": hash_of(counts),
            "epochs": str(recipe_of(job).epochs),
            "minutes": str(settings.minutes),
        }

    def outputs(self, job: FitJob) -> Hashes:
        if job.state.effort is None:
            raise DataError("found no trial; expected one")
        return {"effort": hash_of(job.effort.as_json())}

    def expected_s(self, job: FitJob) -> float:
        return 0

    def run(self, job: FitJob) -> Done:
        network = build_network(job.planned, len(job.data.classes))
        job.state.effort = effort = chosen_effort(network, job.data, recipe_of(job).epochs, job.settings.minutes)
        photographs = sum(len(part.labels) for part in (job.data.train, job.data.calibration, job.data.test))
        allowed = duration(allowed_s(photographs, job.settings.minutes))
        return Done(
            f"the fit may take about {allowed} here, in which {effort.linf} calibration and {effort.test} test photographs are attacked"
        )


class Train(Step):
    """Trains the network. After a kill it goes on after the last whole epoch."""

    name, kind = "train", TRAINING

    def inputs(self, job: FitJob) -> Hashes:
        settings, package = job.settings, installed(job.settings.backbone)
        return {
            "photographs": job.photographs_hash,
            "backbone": job.network_hash,
            "size": str(settings.size),
            FIRST_WEIGHTS: package.sha256 if package else RANDOM,
            "recipe": hash_of(asdict(recipe_of(job))),
            **_behind(job),
        }

    def outputs(self, job: FitJob) -> Hashes:
        if job.files.folder is None:
            raise DataError(f"found no model.json in {job.folder}; expected one")
        code = {"code": file_hash(job.files.code_file)} if job.code else {}
        return {"weights": job.files.sha256, **code}

    def expected_s(self, job: FitJob) -> float:
        data, effort = job.data, job.effort
        return recipe_of(job).epochs * (
            len(data.train.labels) * effort.train_s + len(data.calibration.labels) * effort.score_s
        )

    def run(self, job: FitJob) -> Done:
        checkpoint = job.folder / CHECKPOINT.format(hash_of(self.inputs(job))[:8])
        for other in set(job.folder.glob(CHECKPOINT.format("*"))) - {checkpoint}:
            other.unlink(missing_ok=True)
        recipe = recipe_of(job)
        wanted = job.planned
        trained = trained_network(wanted, job.data, recipe, checkpoint, backgrounds=job.backgrounds)
        _remove_attacks(job.folder)
        write_trained(trained, job.files, job.data, job.place())
        checkpoint.unlink(missing_ok=True)
        kept = len(trained.description.exits)
        return Done(f"{kept} of {len(wanted.exits)} exits are kept, and the final classifier")


def _behind(job: FitJob) -> Hashes:
    """Of the backgrounds, where there are any."""
    return {"backgrounds": job.backgrounds_hash} if job.settings.backgrounds else {}


def _remove_attacks(folder: Path) -> None:
    """Remove attacked images: they were crafted against earlier weights."""
    for file in (folder / ATTACKS).glob("*.npy*"):
        file.unlink(missing_ok=True)


class Calibrate(Step):
    """Measures costs, accuracies, thresholds and last exits."""

    name = "calibrate"

    def inputs(self, job: FitJob) -> Hashes:
        return {
            "weights": job.files.sha256,
            "photographs": job.photographs_hash,
            "test photographs": job.test_hash,
            **_behind(job),
        }

    def outputs(self, job: FitJob) -> Hashes:
        job.card()
        return {"card": file_hash(job.files.card)}

    def expected_s(self, job: FitJob) -> float:
        data = job.data
        return 1 + 1.5 * (len(data.calibration.labels) + len(data.test.labels)) * job.effort.score_s

    def run(self, job: FitJob) -> Done:
        files = job.files
        behind = job.backgrounds
        card = calibrate(files, load_network(files), job.data, behind.calibration if behind else None)
        write_card(card, files.card)
        write_card_page(card, files.card.with_suffix(".md"), files)
        point = card.thresholds[RAD]
        best = int(np.argmax(card.accuracy_test)) + 1
        return Done(
            f"final accuracy {card.accuracy_test[-1]:.3f} on test photographs (best exit {best}: {max(card.accuracy_test):.3f}); RAD {RAD}: "
            f"threshold {point.threshold:.2f}, mean cost {point.mean_cost:.2f}"
        )
