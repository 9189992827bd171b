"""The model card as a page for people: card.md, beside card.json."""

from pathlib import Path

from export.calibration.card import ModelCard
from export.data.cifar10 import NAME as CIFAR10
from export.data.output import write_output
from export.networks.model_files import ModelFiles
from export.networks.weights import metadata

USE = "* **Use**: research and demonstrations of early exits under attack. CIFAR-10 is no data for a product."


def write_card_page(card: ModelCard, file: Path, files: ModelFiles) -> None:
    """Write the page.

    Args:
        files: the model that the card belongs to.

    Raises:
        OutputError: the file cannot be written.
    """
    write_output(file, card_page(card, files))


def recipe_of(weights: Path) -> str:
    """How the weights were trained, as their file says."""
    imported = weights.suffix != ".safetensors"
    return "not recorded (imported)" if imported else metadata(weights).get("recipe", "not recorded")


def card_page(card: ModelCard, files: ModelFiles) -> str:
    """The page in Markdown. ``files``: the model that the card belongs to."""
    images = card.images
    height, width = files.description.input_size
    about = f"{images.calibration} calibration and {images.test} test images" if images else "images were not counted"
    seen = "the calibration images"
    if images and images.pasted:
        seen += (
            f", {images.calibration - images.pasted} as they were taken and {images.pasted} before other backgrounds"
        )
    return "\n".join(
        [
            f"# SDN {card.model}",
            "",
            f"A Shallow-Deep Network for {width} x {height} RGB images in [0, 1] without normalisation, float16 safetensors.",
            f"Weights: `{files.weights.name}`, SHA-256 `{card.weights_sha256}`.",
            "",
            f"* **Data**: {_data(card)}",
            f"* **Recipe**: {recipe_of(files.weights)}.",
            "* **Classes**: " + ", ".join(card.classes) + ".",
            *(
                []
                if _is_cifar10(card)
                else [
                    f"* **Exits**: behind blocks {', '.join(map(str, files.description.exits))}, and the final classifier."
                ]
            ),
            *([USE] if _is_cifar10(card) else []),
            "",
            f"Thresholds for a relative accuracy drop (RAD), chosen and measured on {seen}:",
            "",
            "| RAD | threshold | accuracy | mean relative cost | EFCY | T3-ER |",
            "|---|---|---|---|---|---|",
            *(
                f"| {rad} % | {point.threshold:.2f} | {point.accuracy:.3f} | {point.mean_cost:.3f} | {point.efcy:.3f} | {point.t3_er:.3f} |"
                for rad, point in card.thresholds.items()
            ),
            "",
            *_last_exits(card),
            f"Accuracy when every image leaves at one exit ({about}):",
            "",
            "| exit | relative cost | calibration | test |",
            "|---|---|---|---|",
            *_exits(card),
            "",
            f"Made with `defq calibrate {files.option}`.",
            "",
        ]
    )


def _is_cifar10(card: ModelCard) -> bool:
    return card.data is None or card.data.source == CIFAR10  # the cards without data are those of early releases


def _data(card: ModelCard) -> str:
    """The sentence on the images that the network was trained, calibrated and evaluated on."""
    data, images = card.data, card.images
    calibration, test = (images.calibration - images.pasted, images.test) if images else (0, 0)
    if data is None or _is_cifar10(card):
        return (
            "CIFAR-10. Training images 0..42999 to train, 43000..46999 to calibrate (thresholds, tables), the first "
            f"{test} images of the test batch to evaluate."
        )
    return (
        f"{data.source}, {data.train} to train, {calibration} to calibrate (thresholds, tables), {test} to evaluate; "
        f"{data.order}. SHA-256 of the images to train and to calibrate: `{data.sha256}`."
    )


def _exits(card: ModelCard) -> list[str]:
    last = len(card.relative_costs)
    measured = zip(card.relative_costs, card.accuracy_calibration, card.accuracy_test, strict=True)
    return [
        f"| {'final' if number == last else number} | {cost:.4f} | {calibration:.3f} | {test:.3f} |"
        for number, (cost, calibration, test) in enumerate(measured, start=1)
    ]


def _last_exits(card: ModelCard) -> list[str]:
    rows = [
        f"| {rad} % | {last.exit} | {last.relative_cost:.2f} | {last.least_efcy:.2f} | {last.thresholds[rad].accuracy:.3f} | {last.thresholds[rad].efcy:.3f} |"
        for rad, last in card.last_exits.items()
    ]
    return [
        "Last exit (`bundle --last-exit --rad RAD`): frames that have not left leave there, under any attack. Accuracy and EFCY: "
        "of the calibration images with it.",
        "",
        "| RAD | last exit | a frame costs at most | EFCY at least | accuracy | EFCY |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
    ]
