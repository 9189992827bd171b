"""Pictures of results."""

import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from export.data.output import write_output
from export.evaluation.demo_report import TITLES, DemoReport

DEVICE, HOST = "#2a9d8f", "#e76f51"


def exit_histograms(report: DemoReport, file: Path) -> None:
    """Draw the share of frames that leave at each exit as a PNG file, with one panel for each condition, as in Figure 6 of the
    paper: clean ones in one row, attacked ones in the next."""
    shown = {TITLES[name]: condition for name, condition in report.conditions.items()}
    columns = len(shown) // 2
    figure, rows = plt.subplots(2, columns, figsize=(4 * columns, 6.4), sharey=True, constrained_layout=True)
    panels = rows.ravel()
    for panel, (title, condition) in zip(panels, shown.items(), strict=True):
        shares = [count / condition.frames for count in condition.exit_histogram]
        numbers = range(1, len(shares) + 1)
        panel.bar(numbers, shares, color=[DEVICE if number <= report.split else HOST for number in numbers])
        panel.axvline(report.split + 0.5, color="grey", linewidth=1, linestyle="--")
        panel.set_title(
            f"{title}\n{condition.edge_exit_ratio:.0%} on the device, EFCY {condition.efcy:.2f}", fontsize=11
        )
        panel.set_xlabel("exit")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    for panel in rows[:, 0]:
        panel.set_ylabel("share of frames")
    bars = [Rectangle((0, 0), 1, 1, color=colour) for colour in (DEVICE, HOST)]
    panels[-1].legend(bars, ["left on the device", "sent to the host"], frameon=False, fontsize=9)
    figure.suptitle(f"SDN {report.model}, {report.source}", fontsize=10)
    write_output(file, png_of(figure))


def png_of(figure: Figure) -> bytes:
    """A figure as a PNG file; it is closed then."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    plt.close(figure)
    return stream.getvalue()
