"""The table of the comparison in Markdown, and one plot of it."""

from pathlib import Path
from typing import Any

from bench.against.contenders import CONTENDERS
from bench.measure import table as markdown


def cell_of(network: dict[str, Any], share: float, mbit: int, attacked: bool) -> dict[str, dict[str, Any]]:
    """The rows of one cell by contender; those that use no link are in every link's cell."""
    return {
        row["contender"]: row
        for row in network["rows"]
        if row["share"] == share and row["attacked"] == attacked and row["mbit"] in (None, mbit)
    }


def cells(network: dict[str, Any]) -> list[tuple[float, int, bool]]:
    """All cells of a network: share of a core, megabits a second, attacked."""
    shares = sorted({row["share"] for row in network["rows"]}, reverse=True)
    links = sorted({row["mbit"] for row in network["rows"] if row["mbit"]})
    return [(share, mbit, attacked) for share in shares for mbit in links for attacked in (False, True)]


def table(results: dict[str, Any]) -> str:
    """Mean / p99 milliseconds of every contender in every cell, and what is sent."""
    parts = []
    names = [each.name for each in CONTENDERS]
    for name, network in results["networks"].items():
        rows = [["core", "Mbit/s", "frames", *names]]
        for share, mbit, attacked in cells(network):
            found = cell_of(network, share, mbit, attacked)
            best = min(each["mean_ms"] for each in found.values())
            shown = []
            for contender in names:
                each = found.get(contender)
                text = "-" if each is None else f"{each['mean_ms']:.1f} / {each['p99_ms']:.0f}"
                shown.append(f"**{text}**" if each is not None and each["mean_ms"] == best else text)
            rows.append([f"1/{round(1 / share)}", str(mbit), "attacked" if attacked else "clean", *shown])
        parts.append(f"### {name}\n\n{markdown(rows)}\n\n{markdown(_sent(network, names))}")
    return "\n\n".join(parts)


def _sent(network: dict[str, Any], names: list[str]) -> list[list[str]]:
    """What does not depend on device or link: bytes, processor time at full speed, accuracy."""
    rows = [["at full speed, 10 Mbit/s: bytes / processor ms / accuracy", *names]]
    for attacked in (False, True):
        found = cell_of(network, 1.0, 10, attacked)
        rows.append(
            ["attacked" if attacked else "clean"]
            + [f"{found[each]['bytes']:.0f} / {found[each]['cpu_ms']:.2f} / {found[each]['accuracy']:.2f}" if each in found else "-" for each in names]
        )  # fmt: skip
    return rows


def plot(results: dict[str, Any], file: Path) -> None:
    """Mean latency over the speed of the device, a panel for each network and link; nothing where Matplotlib is not installed."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        print("no plot: Matplotlib is not installed")
        return
    networks = results["networks"]
    links = sorted({row["mbit"] for network in networks.values() for row in network["rows"] if row["mbit"]})
    figure, axes = pyplot.subplots(
        len(networks), len(links), figsize=(4 * len(links), 2.6 * len(networks)), squeeze=False, sharex=True
    )
    for line, (name, network) in enumerate(networks.items()):
        for column, mbit in enumerate(links):
            axis = axes[line][column]
            for number, contender in enumerate(CONTENDERS):
                for attacked, style in ((False, "-"), (True, ":")):
                    points = [
                        (round(1 / share), cell_of(network, share, mbit, attacked).get(contender.name))
                        for share, each, kind in cells(network)
                        if each == mbit and kind == attacked
                    ]
                    known = [(slower, row["mean_ms"]) for slower, row in points if row is not None]
                    axis.plot(
                        *zip(*known, strict=True),
                        style,
                        color=f"C{number}",
                        marker=".",
                        label=contender.name if not attacked else None,
                    )
            axis.set(
                xscale="log",
                yscale="log",
                title=f"{name}, {mbit} Mbit/s",
                xticks=[1, 2, 6, 9],
                xticklabels=["1", "1/2", "1/6", "1/9"],
            )
            axis.grid(alpha=0.3)
        axes[line][0].set_ylabel("mean ms a frame")
    for axis in axes[-1]:
        axis.set_xlabel("share of a core")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False)
    figure.suptitle("solid: clean; dotted: attacked", y=0.995, fontsize=10)
    figure.tight_layout(rect=(0, 0.06 + 0.1 / len(networks), 1, 0.99))
    figure.savefig(file, dpi=110)
    print(f"wrote {file}")


def short_table(results: dict[str, Any], mbit: int = 10) -> str:
    """One table of all networks at one link: mean milliseconds, clean > attacked; the best of each in bold."""
    names = [each.name for each in CONTENDERS]
    rows = [["network", "speed", *names]]
    for name, network in results["networks"].items():
        for share in sorted({row["share"] for row in network["rows"]}, reverse=True):
            both = [cell_of(network, share, mbit, attacked) for attacked in (False, True)]
            best = [min(each["mean_ms"] for each in found.values()) for found in both]
            shown = []
            for contender in names:
                means = [found[contender]["mean_ms"] for found in both]
                cells_ = [
                    f"**{ms:.1f}**" if ms == least else f"{ms:.1f}" for ms, least in zip(means, best, strict=True)
                ]
                shown.append(" > ".join(cells_))
            rows.append([name, f"1/{round(1 / share)}", *shown])
    return markdown(rows)
