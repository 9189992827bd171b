"""The report of the demo: what the device's summary says of each condition, as JSON and as a table."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from export.calibration.json_fields import Fields

TITLES = {
    "clean": "clean",
    "clean_defq": "clean + DefQ",
    "clean_gated": "clean + gated DefQ",
    "attacked": "attacked",
    "attacked_defq": "attacked + DefQ",
    "attacked_gated": "attacked + gated DefQ",
}
"""What pictures and tables call a condition."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from a frame to its decision."""

    mean: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class DemoCondition:
    """One run of the device.

    Args:
        frames: number of frames.
        edge_exit_ratio: share of frames that left on the device.
        t3_er, efcy: device/loop/exits.py.
        latency_ms: of all frames.
        frames_to_host, bytes_to_host: what was sent.
        exit_histogram: number of frames that left at each exit.
        right: share of frames whose label is that of the data set, or where there is no data set, that of the whole network.
    """

    frames: int
    edge_exit_ratio: float
    t3_er: float
    efcy: float
    latency_ms: Latency
    frames_to_host: int
    bytes_to_host: int
    exit_histogram: tuple[int, ...]
    right: float

    @classmethod
    def from_summary(cls, summary: object) -> "DemoCondition":
        """What ``defq run --summary`` wrote. Raises ValueError where a figure is absent or none that it can be."""
        fields = Fields.of(summary)
        latency = fields.section("latency_ms")
        return cls(
            frames=fields.whole("frames", 1),
            edge_exit_ratio=fields.number("edge_exit_ratio", 0, 1),
            t3_er=fields.number("t3_er", 0, 1),
            efcy=fields.number("efcy", 0, 1),
            latency_ms=Latency(*(latency.number(name, 0) for name in ("mean", "p50", "p99"))),
            frames_to_host=fields.whole("frames_to_host"),
            bytes_to_host=fields.whole("bytes_to_host"),
            exit_histogram=fields.wholes("exit_histogram"),
            right=fields.number("accuracy", 0, 1),
        )


@dataclass(frozen=True, slots=True)
class DemoReport:
    """All runs.

    Args:
        model: the network.
        split: number of exits on the device.
        source: what the frames are, in words.
        rad: relative accuracy drop in percent.
        measure: what ``right`` is called: accuracy, or agreement.
        conditions: by the names of TITLES.
    """

    model: str
    split: int
    source: str
    rad: int
    measure: str
    conditions: Mapping[str, DemoCondition]

    def as_json(self) -> dict[str, object]:
        """The content of report.json."""
        conditions = {}
        for name, condition in self.conditions.items():
            figures = asdict(condition)
            figures[self.measure] = figures.pop("right")
            conditions[name] = figures
        return {
            "model": self.model,
            "split": self.split,
            "source": self.source,
            "rad": self.rad,
            "conditions": conditions,
        }

    def table(self) -> str:
        """The report as a table for the console."""
        rows = [["", "on device", "T3-ER", "EFCY", self.measure, "mean ms", "p99 ms", "to host", "kB sent"]]
        for name, figures in self.conditions.items():
            rows.append(
                [
                    TITLES[name],
                    f"{figures.edge_exit_ratio:.0%}",
                    f"{figures.t3_er:.2f}",
                    f"{figures.efcy:.2f}",
                    f"{figures.right:.2f}",
                    f"{figures.latency_ms.mean:.2f}",
                    f"{figures.latency_ms.p99:.2f}",
                    str(figures.frames_to_host),
                    f"{figures.bytes_to_host / 1000:.0f}",
                ]
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
            )
            for row in rows
        ]
        heading = f"{self.model}, exits 1..{self.split} on the device, RAD {self.rad} %, {self.source}"
        return "\n".join([heading, *lines])
