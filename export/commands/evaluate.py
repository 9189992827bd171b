"""defq evaluate: any combination on any data, or the reports under reports/."""

import argparse
from dataclasses import asdict
from pathlib import Path

from device.errors import UsageError
from device.system.options import MANY, whole, whole_number
from export.calibration.attacked_images import FORMS as ATTACKS
from export.calibration.card import read_card
from export.calibration.model import CalibratedModel, model_to_evaluate
from export.calibration.table_reader import shipped_table
from export.commands.inputs import data_for, find_files
from export.commands.options import add_data, add_debug, add_network, add_weights
from export.data.classes import check_classes
from export.data.output import check_writable
from export.data.shipped import shipped_names
from export.defences import FORMS as DEFENCES
from export.evaluation import paper
from export.evaluation.conditions import LAST, LOOP, evaluate
from export.evaluation.markdown import markdown_table
from export.evaluation.reports import QUICK, REPORTS, Run, Size, write_reports
from export.evaluation.run_facts import facts, write_json
from export.networks.find import model_names
from export.networks.loading import load_network
from export.networks.model_files import shipped

QUICK_CALIBRATION = 20  # images that universal perturbations, tables and thresholds behind a defence are learned on

EXAMPLES = (
    "defq evaluate --model vgg16 --images 500 --attacks clean,linf --defenses none,defq",
    "defq evaluate --paper --quick",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        metavar="NAME|FOLDER",
        help=f"a model or network ({', '.join(model_names())}), or the folder of a trained one; reports: only this shipped network, "
        "the rows of the others stay (default: all)",
    )
    add_network(parser)
    add_weights(parser)
    add_data(parser)
    parser.add_argument(
        "--images", type=whole(1), metavar="N", help="the first N images, of all classes (default: all)"
    )
    parser.add_argument(
        "--on",
        choices=("test", "calibration"),
        default="test",
        help="the images that are attacked and measured on; calibration images are there to choose something by, such as the range of a "
        "table (default test)",
    )
    parser.add_argument("--l2-images", type=whole(1), metavar="N", help="reports: the first N for L2")
    parser.add_argument("--l1-images", type=whole(1), metavar="N", help="reports: the first N for L1")
    parser.add_argument(
        "--adaptive-steps",
        metavar="STEPS:N,...",
        help="reports: adaptive attacks of so many steps, each on the first N (default 30:1000,100:200)",
    )
    parser.add_argument("--attacks", default="clean,linf", help=f"{ATTACKS} (default clean,linf)")
    parser.add_argument(
        "--defenses",
        default="none,defq",
        help=f"{DEFENCES}; NAME{LOOP} calibrates the thresholds behind it, NAME{LAST} ends at the last exit "
        "(default none,defq)",
    )
    parser.add_argument("--rad", default="5,10", help="relative accuracy drops in percent (default 5,10)")
    parser.add_argument(
        "--pixels", choices=("8bit", "float"), default="8bit", help="round attacked images to 8 bits, or not"
    )
    parser.add_argument("--tables-of", choices=shipped_names(), help="defend with the shipped table of another network")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures and exit histograms")
    for name in REPORTS:
        parser.add_argument(f"--{name}", action="store_true", help=f"the report {name}: Markdown, CSV and pictures")
    parser.add_argument("--quick", action="store_true", help="reports on 100 images and fewer, to see them work")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="of reports (default reports, with --quick build/reports)"
    )
    add_debug(parser)


def run(arguments: argparse.Namespace) -> int:
    names = [name for name in REPORTS if getattr(arguments, name)]
    if names:
        if arguments.weights or arguments.json or arguments.network or arguments.on != "test":
            raise UsageError(
                "found --weights, --network, --on or --json beside a report; expected none of them: reports are about the networks of "
                "models/ on test images and write CSV; leave them out, or name --attacks and --defenses instead of a report"
            )
        return _reports(arguments, names)
    if (arguments.model is None) == (arguments.network is None):
        raise UsageError(
            f"found {'neither' if arguments.model is None else 'both'} of --model and --network; expected one of them, or a report: {', '.join('--' + name for name in REPORTS)}"
        )
    _numbers(arguments.rad, "--rad")
    if arguments.json:
        check_writable(arguments.json)
    files = find_files(arguments)
    print(files.told(), flush=True)
    data = data_for(arguments, files)
    model = model_to_evaluate(files, data)
    measured = data.test if arguments.on == "test" else data.calibration
    images = measured.take(arguments.images or len(measured.labels))
    rows = evaluate(
        model, data, images, arguments.attacks.split(","), arguments.defenses.split(","), _rads(arguments, model),
        arguments.pixels == "8bit", shipped_table(arguments.tables_of) if arguments.tables_of else None,
    )  # fmt: skip
    lines = [["attack", "defence", "rad", "threshold", "t3_er", "efcy", "accuracy", "mean_cost"]]
    for row in rows:
        figures = row.threshold, row.t3_er, row.efcy, row.accuracy, row.mean_cost
        lines.append([row.attack, row.defence, str(row.rad), *(f"{figure:.3f}" for figure in figures)])
    print(markdown_table(lines))
    if arguments.json:
        settings = {**facts(data), "images": arguments.on}
        write_json(arguments.json, {"settings": settings, "rows": [asdict(row) for row in rows]})
        print(f"wrote {arguments.json}")
    return 0


def _rads(arguments: argparse.Namespace, model: CalibratedModel) -> tuple[int, ...]:
    rads = _numbers(arguments.rad, "--rad")
    if not set(rads) <= set(model.thresholds):
        raise UsageError(f"found --rad {arguments.rad}; expected some of {sorted(model.thresholds)}, divided by commas")
    return rads


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(whole_number(each, 0, 100) for each in text.split(","))
    except ValueError:
        raise UsageError(f"found {option} {text}; expected whole numbers, divided by commas") from None


def _by_steps(text: str) -> dict[int, int]:
    """Images by number of steps."""
    try:
        pairs = [part.split(":") for part in text.split(",")]
        return {whole_number(steps, 1, 100_000): whole_number(images, 1, MANY) for steps, images in pairs}
    except ValueError:
        raise UsageError(
            f"found --adaptive-steps {text}; expected numbers of steps, each with a number of images, as in 30:1000,100:200"
        ) from None


def _reports(arguments: argparse.Namespace, names: list[str]) -> int:
    size, most = QUICK if arguments.quick else Size(), arguments.images
    adaptive = _by_steps(arguments.adaptive_steps) if arguments.adaptive_steps else size.adaptive
    if arguments.model and arguments.model not in paper.MODELS:
        raise UsageError(
            f"found --model {arguments.model} beside a report; expected one of {', '.join(paper.MODELS)}: reports are about "
            "the networks of the paper; name --attacks and --defenses instead of a report"
        )
    models = (arguments.model,) if arguments.model else paper.MODELS
    data = data_for(arguments, shipped(models[0]))
    if arguments.quick:
        data = data._replace(calibration=data.calibration.take(QUICK_CALIBRATION))
    size = size._replace(
        images=most or size.images,
        l2=arguments.l2_images or min(size.l2, most or size.l2),
        l1=arguments.l1_images or min(size.l1, most or size.l1),
        sweep=min(size.sweep, most or size.sweep),
        adaptive={steps: min(count, most or count) for steps, count in adaptive.items()},
        monitor=most or size.monitor,
    )
    for model in models:
        check_classes(load_network(shipped(model)), data, read_card(shipped(model)).classes)
    out = arguments.out or Path("build/reports" if arguments.quick else "reports")
    write_reports(names, Run(data, models, size, out))
    return 0
