"""The sections of a fit's report about the attack, the defence, what frames take on the link, and the limits of all that."""

from export.fit.findings import ATTACKS, DEFENCES, Findings, table
from export.fit.settings import RAD


def defence(found: Findings) -> list[str]:
    """What the attack does, and what DefQ and the gate bring back."""
    rows = [["frames", "defence", "photographs", "EFCY", "T3-ER", "mean cost", "accuracy"]]
    for row in found.rows:
        if row.rad == RAD:
            figures = (f"{each:.2f}" for each in (row.efcy, row.t3_er, row.mean_cost, row.accuracy))
            rows.append([ATTACKS[row.attack], DEFENCES[row.defence], str(row.images), *figures])
    clean, plain = found.row("clean", "defq"), found.row("clean", "none")
    costs = plain.accuracy - clean.accuracy
    own, effort = found.model.own_table(), found.effort
    when = (
        "There is no monitor to switch it on only while an attack goes on."
        if own.monitor is None
        else "With `--defq auto` it is on only while the monitor sees an attack."
    )
    left_out = [f"* **{name}**: {record.left_out}." for name, record in found.steps.items() if record.left_out]
    return [
        "## Attack and defence",
        "",
        f"DeepSloth, L-inf, on test photographs, RAD {RAD} %. EFCY is 1 if all frames leave at no cost, and 0 if all use the whole network; T3-ER is the "
        "share that leaves at exits 1 to 3.",
        "",
        table(rows),
        "",
        f"DefQ always on takes {max(costs, 0):.1%} of the accuracy of clean frames. {when}",
        "",
        "![Where photographs leave: clean, attacked and defended](report/leaving.png)",
        "",
        "![Photographs clean, attacked and defended, and the differences](report/attack.png)",
        "",
        f"The table has steps from {own.steps.min():.0f} to {own.steps.max():.0f}. Algorithm 1 had {effort.linf} photographs under attack, the gate "
        f"{effort.linf} (L-inf), {effort.slow} (L2) and {effort.adaptive} (attacker who knows it), the monitor {effort.linf}.",
        *(["", "Left out, because these photographs do not allow it:", "", *left_out] if left_out else []),
    ]


def traffic(found: Findings) -> list[str]:
    """Bytes on the link, for frames that stay, and in the mean of all frames."""
    sent = found.traffic
    forms = [
        ("activation, 32-bit numbers", float(sent.activation)),
        ("activation, 8 bits, packed (uint8)", sent.uint8),
        *([("DCT coefficients of DefQ", sent.coefficients)] if sent.coefficients is not None else []),
    ]
    conditions = [found.row(*each) for each in (("clean", "none"), ("linf", "none"), ("linf", "defq"))]
    rows = [["sent as", "a frame that stays, kB", "clean, mean kB", "attacked, mean kB", "attacked + DefQ, mean kB"]]
    for name, size in forms:
        means = ((1 - found.on_device(row)) * size / 1e3 for row in conditions)
        only_defended = name.startswith("DCT")
        rows.append(
            [
                name,
                f"{size / 1e3:.1f}",
                *("-" if only_defended and place < 2 else f"{each:.1f}" for place, each in enumerate(means)),
            ]
        )
    rows.append(["every picture as JPEG, quality 90, no exits", *[f"{sent.jpeg / 1e3:.1f}"] * 4])
    return [
        "## Bytes to the host",
        "",
        f"{found.exits_on_device().capitalize()} on the device; frames that leave there send nothing. Measured without HTTP headers, of which there are about 0.3 kB:",
        "",
        table(rows),
        "",
        "The device chooses the form by what the link takes. Where this network should run on your board and your link is answered by `defq plan`.",
    ]


def limits(found: Findings) -> list[str]:
    """What the figures do not promise."""
    told = []
    for name in ("defq", "gated"):
        told += [
            f"EFCY {row.efcy:.2f}, accuracy {row.accuracy:.2f} ({DEFENCES[name]}, {row.images} photographs, 30 steps)"
            for row in found.rows
            if (row.attack, row.defence, row.rad) == ("adaptive", name, RAD)
        ]
    clean = found.row("clean", "none")
    return [
        "## Limits",
        "",
        f"* **An attacker who knows DefQ** and its table computes gradients through it. Such an attacker left: {'; '.join(told)}. Clean frames have "
        f"EFCY {clean.efcy:.2f}, accuracy {clean.accuracy:.2f}. More steps harm more.",
        "* The network answers one of its classes for whatever it sees. It has no answer for a thing of another kind or an empty scene, unless there is a "
        "class of such photographs.",
        "* The figures hold for frames like these photographs. Another camera, light or background is another distribution; keep some photographs of it for "
        "a test.",
        "* Photographs of one scene or one person in two splits make all figures too good: `--group` keeps them together.",
        "* An attack on frames of a camera has to survive the camera. The figures are for an attacker who changes the pixels behind it, which is worse.",
    ]
