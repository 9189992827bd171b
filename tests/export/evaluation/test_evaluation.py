import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from device.bundle.calibration import check_gate
from device.errors import OutputError, UsageError
from export import defences as named_defences
from export.attacks.l1 import DeepSlothL1
from export.attacks.l2 import DeepSlothL2
from export.attacks.linf import DeepSlothLinf, GreyLinf
from export.calibration import attacked_images, scored_frames
from export.calibration import gate as gate_calibration
from export.calibration.attacked_images import attacked
from export.calibration.cost import early_exit, operating_point, score
from export.calibration.gate import calibrate_gate
from export.calibration.gate_file import GateFile, GateStage
from export.calibration.last_exit import up_to
from export.calibration.scored_frames import ScoredFrames
from export.calibration.table_reader import own_table, shipped_table
from export.commands import cli, inputs
from export.commands import evaluate as evaluation_cli
from export.data import datasets
from export.data.cifar10 import CLASSES as CIFAR10_CLASSES
from export.data.images import Dataset, Images
from export.data.output import check_writable
from export.defences import defence_named, gated
from export.evaluation import comparison, conditions, paper, reports, transfer
from export.evaluation.conditions import evaluate, measure, thresholds_behind
from export.evaluation.report import markdown_table, write_json
from export.networks.model_files import made_here, shown
from export.networks.weights import save_network, to_tensor
from tests import tiny

VGG16 = shipped_table("vgg16")
QUICK = {
    "linf": DeepSlothLinf(iterations=3),
    "l2": DeepSlothL2(iterations=3),
    "l1": DeepSlothL1(iterations=3),
    "grey": GreyLinf(iterations=3),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFQ_ATTACKS", str(tmp_path / "attacks"))


@pytest.fixture
def network():
    return tiny.network()


@pytest.fixture
def tiny_model(network):
    return tiny.calibrated(network, {5: 4, 10: 4}, VGG16)


@pytest.fixture
def data(network):
    pixels = tiny.frames(60)
    labels = score(network, pixels).classes[-1]
    images = Images(pixels, labels)
    return Dataset(images, images, images, ("circle", "square", "star"), "made up")


def row(rows, **wanted):
    (found,) = [each for each in rows if all(each[key] == value for key, value in wanted.items())]
    return found


def test_figures_are_those_of_the_exit_rule(tiny_model, data):
    rows = evaluate(tiny_model, data, data.test, ("clean",), ("none",), (5, 10))
    scores = score(tiny_model.network, data.test.pixels)
    exits, classes = early_exit(scores, 0.62)
    found = row(rows, rad=5)
    assert found["threshold"] == 0.62
    assert found["t3_er"] == pytest.approx(np.mean(exits < 3), abs=1e-4)
    assert found["accuracy"] == pytest.approx(np.mean(classes == data.test.labels), abs=1e-4)
    assert found["mean_cost"] == pytest.approx(np.mean(np.array(tiny_model.costs)[exits]), abs=1e-4)
    assert found["exit_histogram"] == np.bincount(exits, minlength=5).tolist()
    assert row(rows, rad=10)["mean_cost"] <= found["mean_cost"]


def test_attacks_slow_down_and_a_threshold_an_image_counts(tiny_model, data):
    rows = evaluate(tiny_model, data, data.test, ("clean", "linf"), ("none", "defq"), (5,))
    assert row(rows, attack="linf", defence="none")["efcy"] < row(rows, attack="clean", defence="none")["efcy"]
    scores = score(tiny_model.network, data.test.pixels)
    thresholds = np.where(np.arange(60) < 30, 0.0, 2.0)
    found = measure(scores, data.test.labels, tiny_model, thresholds, 5)
    assert found["exit_histogram"] == [30, 0, 0, 0, 30]


def test_calibrating_behind_a_defence_changes_the_thresholds_alone(tiny_model, data):
    rows = evaluate(tiny_model, data, data.test, ("clean",), ("flat:60", "flat:60@loop"), (5, 10))
    behind = thresholds_behind(defence_named("flat:60", VGG16), tiny_model, data.calibration)
    assert row(rows, defence="flat:60@loop", rad=5)["threshold"] == behind[5]
    assert row(rows, defence="flat:60", rad=5)["threshold"] == 0.62
    assert behind[10] <= behind[5]


@pytest.mark.parametrize(
    "attack", ["linf", "l2", "l1", "grey", "universal", "class-universal", "adaptive", "adaptive:2"]
)
def test_every_attack_changes_every_image_within_the_range(attack, tiny_model, data, monkeypatch):
    monkeypatch.setattr(attacked_images, "PER_SAMPLE", QUICK)
    few = data.test.take(5)
    shown = attacked(attack, tiny_model, data, few, defence_named("defq", VGG16))
    clean = to_tensor(few.pixels)
    assert shown.shape == clean.shape
    assert 0 <= shown.min() <= shown.max() <= 1
    assert ((shown - clean).abs().flatten(1).amax(1) > 1e-3).all()
    assert torch.equal(shown, attacked(attack, tiny_model, data, few, defence_named("defq", VGG16)))


def test_universal_perturbations_are_the_same_for_all_or_for_a_class(tiny_model, data):
    middle = Images(np.full((6, 16, 16, 3), 128, np.uint8), np.array([0, 0, 1, 1, 2, 2]))
    none = defence_named("none")
    one = attacked("universal", tiny_model, data, middle, none)
    each = attacked("class-universal", tiny_model, data, middle, none)
    assert torch.allclose(one, one[:1].expand_as(one))
    assert torch.equal(each[0], each[1])
    present = set(data.calibration.labels.tolist())
    assert all(
        (each[2 * label] - each[2 * other]).abs().max() > 0 for label in present for other in present if label < other
    )


@pytest.mark.parametrize(("attack", "defence"), [("linf2", "none"), ("adaptive", "median"), ("adaptive:", "defq")])
def test_what_cannot_be_run_is_one_sentence(attack, defence, tiny_model, data):
    with pytest.raises(UsageError, match=r"found (attack|an adaptive attack) .*expected"):
        attacked(attack, tiny_model, data, data.test.take(2), defence_named(defence, VGG16))


IMPOSSIBLE = [
    (
        "clean,linf,adaptive",
        "none,defq,jpeg:75",
        "found an adaptive attack on jpeg:75; expected a defence with a gradient",
    ),
    ("clean,linf,adaptive:5", "none,bits:5", "found an adaptive attack on bits:5"),
    ("linf,adaptive@3", "none,median@loop", "found an adaptive attack on median"),
    ("linf,adaptive", "defq,gaussian:1,resizing@last", "found an adaptive attack on gaussian:1"),
    ("linf,l2,magic", "none,defq", "found attack 'magic'"),
    ("linf,adaptive:0", "none", "found attack 'adaptive:0'"),
    ("linf", "none,defq,magic", "found defence 'magic'"),
    ("linf,adaptive@9", "none,defq", "found exit 9 to attack up to; expected 2 to 5"),
    ("linf,adaptive@1", "none,defq", "found exit 1 to attack up to; expected 2 to 5"),
    ("linf,adaptive@4", "none,none@last", "found exit 4 to attack up to; expected 2 to 3"),
    ("linf", "none,defq@last", "found a calibration of vgg16 without a last exit for RAD 10"),
    ("linf", "none,gated", "found gated for RAD 5, 10 with a gate that knows [5]"),
]


@pytest.mark.parametrize(("attacks", "defences_", "message"), IMPOSSIBLE)
def test_what_cannot_be_combined_is_refused_before_anything_is_crafted(
    attacks, defences_, message, tiny_model, data, monkeypatch, capsys
):
    one_rad = GateFile(GateStage(1.0, {5: 0.5}, np.full((8, 8), 30.0))).gate()
    knows = tiny.calibrated(tiny_model.network, {5: 3} if "without" in message else {5: 3, 10: 3}, VGG16)
    monkeypatch.setattr(evaluation_cli, "model_to_evaluate", lambda *_: knows)
    monkeypatch.setitem(named_defences._FORMS, "gated", lambda name, _table: gated(name, one_rad))
    monkeypatch.setattr(datasets, "load", lambda *_: data)
    monkeypatch.setattr(conditions, "attacked", lambda *_: pytest.fail("crafted"))
    monkeypatch.setattr(conditions, "scores_of", lambda *_: pytest.fail("scored"))
    arguments = ["evaluate", "--model", "vgg16", "--attacks", attacks, "--defenses", defences_]
    assert cli.main(arguments) == UsageError.exit_code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--model", "vgg16", "--images", "0"],
        ["--model", "vgg16", "--rad", "x"],
        [],
        ["--adaptive", "--adaptive-steps", "x"],
    ],
)
def test_usage_is_checked_before_data_is_looked_for(options, monkeypatch):
    monkeypatch.setattr(datasets, "load", lambda *_: pytest.fail("looked for data"))
    assert cli.main(["evaluate", *options]) == UsageError.exit_code


@pytest.mark.parametrize("options", [["--model", "vgg16", "--json"], ["--frontier", "--out"]])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_crafted(
    options, tmp_path, data, monkeypatch, capsys
):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(datasets, "load", lambda *_: data)
    monkeypatch.setattr(evaluation_cli, "check_classes", lambda *_: None)  # the data are not those of the network
    for module in (evaluation_cli, comparison):
        monkeypatch.setattr(module, "evaluate", lambda *_: pytest.fail("crafted"))
    assert cli.main(["evaluate", *options, str(tmp_path / "file" / "inside")]) == OutputError.exit_code
    assert "could not write" in capsys.readouterr().err


def test_asking_whether_a_file_can_be_written_leaves_it_as_it_is(tmp_path):
    check_writable(tmp_path / "new" / "file")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "old").write_text("kept")
    check_writable(tmp_path / "old")
    assert (tmp_path / "old").read_text() == "kept"


def test_a_calibrated_gate_keeps_its_promises_on_the_images_it_was_made_on(tiny_model, data):
    found = calibrate_gate(tiny_model, data)
    gate = check_gate({"gate": found.as_json()}, (5, 10), "a table")
    assert found.weights_sha256 == "tiny"
    strong, *weak = gate.stages
    assert set(strong.thresholds) == {5, 10}
    assert all(strong.thresholds[rad] <= threshold for rad, threshold in tiny_model.thresholds.items())
    for stage in weak:
        assert stage.level < strong.level


def test_a_gate_before_a_last_exit_counts_what_that_costs(tiny_model, data, monkeypatch):
    monkeypatch.setattr(gate_calibration, "LOSS_AT_LAST_EXIT", (0.05, 0.1))
    model = tiny.calibrated(tiny_model.network, {5: 4, 10: 3}, VGG16)
    gate = calibrate_gate(model, data, ending=5)
    assert gate.last_exit == 4
    frames = ScoredFrames(data.calibration.pixels, data.calibration.labels, model, 4)
    stages = [gate.strong] if gate.weak is None else [gate.weak, gate.strong]
    found = frames.at(5, *stages)
    if gate.weak:  # else there was nothing harmless to choose
        assert found.accuracy >= frames.undefended(5).accuracy - 0.1
        assert found.t3_er >= frames.undefended(5).t3_er
    whole = ScoredFrames(data.calibration.pixels, data.calibration.labels, model)
    assert frames.undefended(5) == whole.undefended(5) == whole.at(5)._replace(threshold=0.62)
    ended = up_to(frames.plain, 4)
    point = operating_point(ended, data.calibration.labels, model.costs[:4], 0.62)
    assert frames.at(5)._replace(threshold=0.62) == point


def test_a_gate_is_evaluated_with_what_the_last_exit_asks_for(tiny_model, data):
    all_found = GateFile(replace(VGG16.gate.strong, level=0.02, thresholds={5: 0.0, 10: 0.0}), last_exit=4)
    none_found = GateFile(replace(VGG16.gate.strong, level=1e6))
    tiny_model = replace(tiny_model, table=replace(VGG16, gate=none_found, last_exit_gates={5: all_found}))
    names = ("none@last", "gated", "gated@last")
    rows = evaluate(tiny_model, data, data.test.take(10), ("clean",), names)
    found = {(each["defence"], each["rad"]): each["exit_histogram"] for each in rows}
    assert found["gated@last", 5] == [10, 0, 0, 0, 0]  # at a threshold of 0 all leave at once
    assert found["gated@last", 10] == found["none@last", 10]  # no gate for this one: that of the whole network


def test_thresholds_of_the_gate_reckon_with_an_attacker_who_knows_it(tiny_model, data):
    blind = calibrate_gate(tiny_model, data, blind=True)
    knowing = calibrate_gate(tiny_model, data)
    assert "adaptive" not in blind.images
    table = knowing.strong.table
    assert np.array_equal(table, blind.strong.table)
    most = {5: 0.5, 10: 10.0}
    target = gate_calibration.adaptive_target(tiny_model, data, data.calibration, table, most)
    assert target.efcy[5] <= 0.5  # frames need not leave earlier than clean ones do
    most = {
        rad: gate_calibration.RESTORED
        * ScoredFrames(data.calibration.pixels, data.calibration.labels, tiny_model).at(rad).efcy
        for rad in (5, 10)
    }
    target = gate_calibration.adaptive_target(tiny_model, data, data.calibration, table, most)
    for rad, wanted in target.efcy.items():
        low = knowing.strong.thresholds[rad]
        reached = target.frames.at(rad, knowing.strong).efcy
        assert reached >= wanted or low == 0  # nothing leaves earlier than at a threshold of 0
        if knowing.strong.level == blind.strong.level:
            assert low <= blind.strong.thresholds[rad]


def test_frames_behind_two_stages_is_what_the_device_would_do(tiny_model, data, monkeypatch):
    frames = ScoredFrames(data.test.pixels, data.test.labels, tiny_model)
    low, high = np.quantile(frames.levels, [0.3, 0.7])
    weak = GateStage(float(low), {5: 0.5}, np.full((8, 8), 20.0))
    strong = GateStage(float(high), {5: 0.4}, np.full((8, 8), 50.0))
    monkeypatch.setattr(scored_frames, "LEVELS", np.array([0.0]))
    point = frames.at(5, weak, strong)
    gate = GateFile(strong, weak).gate()
    defence = gated("gated", gate)
    scores = score(tiny_model.network, defence.pixels(data.test.pixels))
    found = measure(scores, data.test.labels, tiny_model, defence.thresholds(data.test.pixels, 5, 0.62), 5)
    assert found["accuracy"] == pytest.approx(point.accuracy, abs=1e-4)
    assert found["efcy"] == pytest.approx(point.efcy, abs=1e-4)


def patched(monkeypatch, tiny_model, gate=True):
    """The reports, on the tiny network under the name of a real one."""
    for module in (paper, comparison, transfer, reports):
        monkeypatch.setattr(
            module, "shipped_model", lambda model: replace(tiny_model, name=model, table=shipped_table(model))
        )
    monkeypatch.setattr(attacked_images, "PER_SAMPLE", QUICK)


def test_the_reports_hold_every_cell(tmp_path, monkeypatch, tiny_model, data, capsys):
    patched(monkeypatch, tiny_model)
    ten = data._replace(classes=CIFAR10_CLASSES)
    monkeypatch.setattr(datasets, "load", lambda *_: ten)
    monkeypatch.setattr(comparison, "ADAPTIVE", ("none", "defq", "moving-grid"))
    monkeypatch.setattr(comparison, "times", lambda: {"defq": {"32x32": 20.0, "640x480": 3000.0}})
    out = tmp_path / "reports"
    arguments = [
        "evaluate",
        "--paper",
        "--compare",
        "--frontier",
        "--adaptive",
        "--transfer",
        "--quick",
        "--images",
        "12",
        "--out",
        str(out),
    ]
    monkeypatch.setattr(evaluation_cli, "QUICK", reports.Size(12, 4, 4, 12, {2: 3, 3: 2}))
    monkeypatch.setattr("export.evaluation.figures.confidence_bars", lambda *_: None)  # ten classes, which tiny has not
    assert cli.main(arguments) == 0
    text = (out / "paper.md").read_text()
    assert "not run" not in text
    assert text.count("VGG-16, RAD 5") >= 3
    assert "Table IV" in text
    assert "0.02 -> 0.53 / **" in text  # the paper's figure beside ours
    with (out / "paper.csv").open() as file:
        rows = list(csv.DictReader(file))
    # three networks x four attacks x two defences x two RADs, 8 bit and float, and three ranges at two RADs
    assert len(rows) == 3 * 4 * 2 * 2 * 2 + 3 * 2
    for name in ("figure2.png", "figure4.png", "figure6.png", "frontier.png"):
        assert (out / name).stat().st_size > 5000, name
    for name in ("gated", "gated@last"):
        assert f"| {name} |" in (out / "comparison.md").read_text()
    known = (out / "adaptive.md").read_text()
    assert "| moving-grid |" in known
    assert "grey the first 3, adaptive:2 the first 3, adaptive:3 the first 2." in known
    assert "| vgg16 |" in (out / "transfer.md").read_text()
    assert "feature distillation" in (out / "frontier.md").read_text()
    assert "| DefQ, table searched | searched |" in (out / "frontier.md").read_text()
    assert json.loads((out / "run.json").read_text())["transfer"]["l2"] == 4
    assert "wrote" in capsys.readouterr().out
    before = {file.name: file.read_text() for file in (*out.glob("*.[cm][sd]*"), out / "run.json")}
    (out / "figure2.png").unlink()
    assert cli.main([*arguments, "--model", "mobilenet"]) == 0  # one network again: the others' rows stay
    assert not (out / "figure2.png").exists()  # it shows VGG-16
    assert {file.name: file.read_text() for file in (*out.glob("*.[cm][sd]*"), out / "run.json")} == before
    other = ["10" if word == "12" else word for word in arguments]
    crafted = sorted((tmp_path / "attacks").iterdir())
    assert cli.main([*other, "--model", "mobilenet"]) == 3
    assert "found 12 images of vgg16 under clean" in capsys.readouterr().err
    assert sorted((tmp_path / "attacks").iterdir()) == crafted  # refused before hours of work


def test_transfer_of_a_network_to_itself_is_plain_defq(monkeypatch, tiny_model, data):
    patched(monkeypatch, tiny_model)
    rows = transfer.transfer(data, ("vgg16", "mobilenet"), 10)
    own = row(rows, kind="table", source="vgg16", model="vgg16", rad=5)
    plain = row(evaluate(tiny_model, data, data.test.take(10), ("linf",), ("defq",), (5,)), rad=5)
    assert {key: own[key] for key in plain} == plain
    assert row(rows, kind="attack", source="vgg16", model="vgg16", defence="defq", rad=5)["efcy"] == plain["efcy"]


def test_papers_figures_are_complete_and_lie_in_zero_to_one():
    for metric in paper.PAPER.values():
        assert tuple(metric) == paper.ATTACKS
        for cells in metric.values():
            assert set(cells) == set(paper.MODELS)
            assert all(len(each) == 4 and 0 <= min(each) <= max(each) <= 1 for each in cells.values())


def test_a_table_in_markdown():
    assert markdown_table([["a", "b"], ["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "found no --model; expected one, or a report"),
        (["--paper", "--weights", "last"], "found --weights or --json beside a report"),
        (["--model", "vgg16", "--rad", "7"], r"found --rad 7; expected some of \[5, 10\]"),
        (["--model", "vgg16", "--rad", "five"], "found --rad five"),
        (["--adaptive", "--adaptive-steps", "30"], "found --adaptive-steps 30; expected numbers of steps"),
        (["--adaptive", "--adaptive-steps", "30:0"], "found --adaptive-steps 30:0"),
        (["--adaptive", "--adaptive-steps", "30:5,x:5"], "found --adaptive-steps 30:5,x:5"),
        (["--model", "vgg16", "--images", "0"], "found --images 0; expected a whole number of at least 1"),
        (["--model", "vgg16", "--defenses", "magic"], "found defence 'magic'"),
        (["--model", "vgg16", "--attacks", "magic", "--images", "1"], "found attack 'magic'"),
    ],
)
def test_usage_errors_are_one_sentence(options, message, data, monkeypatch, capsys):
    monkeypatch.setattr(datasets, "load", lambda *_: data._replace(classes=CIFAR10_CLASSES))
    assert cli.main(["evaluate", *options]) == 2
    assert __import__("re").search(message, capsys.readouterr().err)


def test_absent_and_foreign_weights_are_one_sentence(tmp_path, data, monkeypatch, capsys):
    monkeypatch.setattr(datasets, "load", lambda *_: data)
    assert cli.main(["evaluate", "--model", "vgg16", "--weights", str(tmp_path / "last")]) == 3
    assert "could not" in capsys.readouterr().err
    save_network(tiny.network(), tmp_path / "tiny.safetensors")
    assert cli.main(["evaluate", "--model", "vgg16", "--weights", str(tmp_path / "tiny.safetensors")]) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_json_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not make the folder"):
        write_json(tmp_path / "file" / "out.json", {})


def test_gate_writes_a_table_of_its_own_and_keeps_the_rest(tmp_path, monkeypatch, tiny_model, data, capsys):
    tiny_model = replace(tiny_model, identity=VGG16.weights_sha256)
    monkeypatch.setattr(
        inputs, "calibrated_model", lambda files, data, without: replace(tiny_model, table=own_table(files, without))
    )
    monkeypatch.setattr(datasets, "load", lambda *_: data)
    monkeypatch.setattr(attacked_images, "PER_SAMPLE", QUICK)
    shipped_text = VGG16.file.read_text()
    assert cli.main(["gate", "--model", "vgg16"]) == 0
    made = made_here("vgg16").table
    said = capsys.readouterr().out
    assert f"table {shown(VGG16.file)}" in said
    assert f"wrote {made}" in said
    written = json.loads(made.read_text())
    assert {**written, "gate": 0} == {**VGG16.as_json(), "gate": 0}
    assert written["gate"] != VGG16.as_json()["gate"]
    assert check_gate(written, (5, 10), "table.json")
    assert written["gate"]["images"] == {"clean": 60, "linf": 60, "l2": 50, "adaptive": 60}
    assert cli.main(["gate", "--model", "vgg16", "--last-exit", "10"]) == 0
    assert f"table {made}" in capsys.readouterr().out  # goes on from what the first one wrote
    again = json.loads(made.read_text())
    gates = again["last_exit_gates"]
    assert gates["10"]["last_exit"] == 4
    assert {**again, "last_exit_gates": 0} == {**written, "last_exit_gates": 0}  # the other gate stays
    assert gates == {**written.get("last_exit_gates", {}), "10": gates["10"]}  # and that of the other RAD
    assert VGG16.file.read_text() == shipped_text
