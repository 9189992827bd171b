"""All steps of a fit, in order."""

from export.fit.bundle_step import Bundle
from export.fit.defence_steps import Gate, Measure, Monitor, Table
from export.fit.network_steps import Calibrate, Scan, Train, Trial
from export.fit.report_step import Report
from export.fit.step import Step


def fit_steps() -> list[Step]:
    return [Scan(), Trial(), Train(), Calibrate(), Table(), Gate(), Monitor(), Measure(), Bundle(), Report()]
