"""The steps that make the defence: table, gate, monitor, and the figures of what it gives."""

from dataclasses import replace

from device.errors import DataError
from export.calibration.attacked_images import PER_SAMPLE
from export.calibration.gate import NoGateError, calibrate_gate
from export.calibration.monitor import calibrate_monitor
from export.calibration.table import Kept, TableSettings, learn_table
from export.calibration.table_file import learned_file, write_table
from export.evaluation.conditions import evaluate
from export.evaluation.csv_file import read_csv, write_csv
from export.evaluation.rows import ConditionRow
from export.fit.effort import LINF, SLOW
from export.fit.job import FitJob, learned_hash, part_hash
from export.fit.settings import RAD
from export.fit.state import Hashes
from export.fit.step import CRAFTING, Done, Step, file_hash
from export.networks.loading import load_network
from export.networks.sdn import folded

FEW = 20
"""Calibration photographs below which shares of exits say nothing."""
LEAST_SHIFT = 0.2
"""How much less often attacked photographs have to leave on the first half of the cost than clean ones, for a monitor."""
MEASURES = "measures.csv"


class Table(Step):
    """Learns Q_def by Algorithm 1."""

    name, kind = "table", CRAFTING

    def inputs(self, job: FitJob) -> Hashes:
        return {
            "weights": job.files.sha256,
            "photographs": job.photographs_hash,
            "number of samples": str(job.effort.linf),
        }

    def outputs(self, job: FitJob) -> Hashes:
        return {"table": learned_hash(job.table())}

    def expected_s(self, job: FitJob) -> float:
        return 1 + job.effort.linf * LINF * job.effort.gradient_s

    def run(self, job: FitJob) -> Done:
        files, settings, attack = job.files, TableSettings(job.effort.linf), PER_SAMPLE["linf"]
        network = folded(load_network(files))
        learned = learn_table(network, job.data.calibration, settings, attack, Kept(files.sha256, files.attacks))
        write_table(learned_file(learned, settings, attack, files.model, files.sha256), files.table)
        steps = learned.steps
        return Done(
            f"steps {steps.min()} to {steps.max()}, mean {steps.mean():.0f}, from {settings.samples} photographs under attack"
        )


class Gate(Step):
    """Calibrates the noise gate, where photographs allow one."""

    name, kind = "gate", CRAFTING

    def inputs(self, job: FitJob) -> Hashes:
        effort = job.effort
        counts = f"{effort.linf} {effort.slow} {effort.adaptive}"
        return {**_calibrated_with(job, "gate"), "number of samples": counts}

    def outputs(self, job: FitJob) -> Hashes:
        return {"gate": part_hash(job.table().gate)}

    def expected_s(self, job: FitJob) -> float:
        effort = job.effort
        gradients = effort.slow * SLOW + effort.adaptive * 2 * LINF
        return 5 + gradients * effort.gradient_s + 10 * len(job.data.calibration.labels) * effort.score_s

    def run(self, job: FitJob) -> Done:
        model = job.model("gate")
        try:
            gate = calibrate_gate(model, job.data, samples=job.effort.samples())
        except NoGateError as error:
            write_table(replace(model.own_table(), gate=None), job.files.table)
            return Done("no gate", str(error))
        write_table(replace(model.own_table(), gate=gate), job.files.table)
        stages = "two stages" if gate.weak else "one stage"
        share = (gate.weak or gate.strong).clean_found or 0.0
        return Done(f"{stages}; {share:.1%} of the clean photographs count as attacked")


class Monitor(Step):
    """Calibrates the attack monitor, where there are photographs enough."""

    name, kind = "monitor", CRAFTING

    def inputs(self, job: FitJob) -> Hashes:
        return {**_calibrated_with(job, "monitor"), "number of samples": str(job.effort.linf)}

    def outputs(self, job: FitJob) -> Hashes:
        return {"monitor": part_hash(job.table().monitor)}

    def expected_s(self, job: FitJob) -> float:
        return 2 + 4 * len(job.data.calibration.labels) * job.effort.score_s

    def run(self, job: FitJob) -> Done:
        model = job.model("monitor")
        there = len(job.data.calibration.labels)
        if there < FEW:
            write_table(replace(model.own_table(), monitor=None), job.files.table)
            return Done(
                "no monitor",
                f"found {there} calibration photographs; a monitor needs {FEW} or more to know at which exits clean frames leave",
            )
        monitor = calibrate_monitor(model, job.data, job.effort.linf)
        shares = monitor.shares[RAD]
        first = [number for number, cost in enumerate(model.costs, start=1) if cost <= 0.5][-1:] or [1]
        clean, harmed = (float(sum(each[: first[0]])) for each in (shares.clean, shares.attacked))
        if clean - harmed < LEAST_SHIFT:
            write_table(replace(model.own_table(), monitor=None), job.files.table)
            return Done(
                "no monitor",
                f"{clean:.0%} of the clean and {harmed:.0%} of the attacked photographs leave at exits 1 to {first[0]}; a monitor needs a "
                f"difference of {LEAST_SHIFT:.0%} or more",
            )
        write_table(replace(model.own_table(), monitor=monitor), job.files.table)
        return Done(
            f"{clean:.0%} of the clean and {harmed:.0%} of the attacked photographs leave at exits 1 to {first[0]}"
        )


class Measure(Step):
    """Measures the defence on test photographs, of which nothing was learned."""

    name, kind = "measure", CRAFTING

    def inputs(self, job: FitJob) -> Hashes:
        effort = job.effort
        return {
            **_calibrated_with(job, "measure"),
            "gate": part_hash(job.table().gate),
            "test photographs": job.test_hash,
            "number of samples": f"{effort.test} {effort.knowing}",
        }

    def outputs(self, job: FitJob) -> Hashes:
        measured(job)
        return {"measures": file_hash(job.folder / MEASURES)}

    def expected_s(self, job: FitJob) -> float:
        effort = job.effort
        gradients = (effort.test + 2 * effort.knowing) * LINF
        return 2 + gradients * effort.gradient_s + 6 * effort.test * effort.score_s

    def run(self, job: FitJob) -> Done:
        model, data, effort = job.model(), job.data, job.effort
        gated = ["gated"] if model.own_table().gate else []
        few, knowing = data.test.take(effort.test), data.test.take(effort.knowing)
        rows = evaluate(model, data, few, ("clean", "linf"), ("none", "defq", *gated))
        rows += evaluate(model, data, knowing, ("adaptive",), ("defq", *gated))
        write_csv(rows, job.folder / MEASURES)
        clean, harmed, defended = (
            row_of(rows, *each) for each in (("clean", "none"), ("linf", "none"), ("linf", "defq"))
        )
        parts = [
            f"{name} {row.efcy:.2f} / {row.accuracy:.2f}"
            for name, row in (("clean", clean), ("attacked", harmed), ("attacked + DefQ", defended))
        ]
        return Done(f"EFCY / accuracy: {', '.join(parts)}")


def measured(job: FitJob) -> list[ConditionRow]:
    """The rows that the step has measured.

    Raises:
        DataError: there are none.
    """
    rows = read_csv(job.folder / MEASURES, ConditionRow)
    if not rows:
        raise DataError(f"found no figures in {job.folder / MEASURES}; expected those of the step measure")
    return rows


def row_of(rows: list[ConditionRow], attack: str, defence: str, rad: int = RAD) -> ConditionRow:
    """The row of one condition."""
    return next(row for row in rows if (row.attack, row.defence, row.rad) == (attack, defence, rad))


def _calibrated_with(job: FitJob, without: str) -> dict[str, str]:
    """What everything that is calibrated with a table follows from."""
    return {
        "photographs": job.photographs_hash,
        "card": file_hash(job.files.card),
        "table": learned_hash(job.table(without)),
    }
