"""The calibration of the monitor, and its report."""

import csv
import json
import re
from dataclasses import asdict, replace

import numpy as np
import pytest

from device.bundle.reader import load_bundle
from device.defence.monitor import ExitShares, Monitor
from export.attacks.linf import DeepSlothLinf
from export.bundle.settings import BundleSettings
from export.calibration import attacked_images
from export.calibration import monitor as monitor_shares
from export.calibration.cost import early_exit, score
from export.calibration.gate_file import GateFile, GateStage
from export.calibration.monitor import calibrate_monitor
from export.calibration.table_file import write_table
from export.calibration.table_reader import own_table, read_table
from export.commands import cli, inputs
from export.commands import evaluate as evaluation_cli
from export.commands import gate as gate_command
from export.commands import table as table_command
from export.data import datasets
from export.defences import table_defence
from export.evaluation import monitor
from export.evaluation.monitor import Streams, monitor_report, simulate
from export.evaluation.rows import Watched
from export.networks.model_files import made_here, shipped
from tests import tiny

TABLE = tiny.TABLE.steps
QUICK = {"linf": DeepSlothLinf(iterations=3)}
NAMES = ExitShares._fields
GATE = GateFile(GateStage(9.0, {5: 0.5, 10: 0.4}, tiny.TABLE.steps))


@pytest.fixture
def tiny_model():
    return tiny.calibrated(tiny.network(), table=tiny.TABLE)


@pytest.fixture
def table(tmp_path, monkeypatch, tiny_model, data):
    """The table of the tiny network, under the name of a real one, and all commands on it."""
    files = made_here("vgg16")
    weights = shipped("vgg16").sha256
    write_table(replace(tiny.TABLE, model="vgg16", weights_sha256=weights, gate=GATE), files.table)
    tiny_model = replace(tiny_model, identity=weights)
    monkeypatch.setattr(
        inputs, "calibrated_model", lambda files, data, without: replace(tiny_model, table=own_table(files, without))
    )
    monkeypatch.setattr(
        monitor,
        "shipped_model",
        lambda model: replace(tiny_model, table=read_table(files.table)),
    )
    for module in (table_command, attacked_images, monitor_shares):
        monkeypatch.setattr(module, "PER_SAMPLE", QUICK)
    monkeypatch.setattr(evaluation_cli, "check_classes", lambda *_: None)  # three classes, under the name of one of ten
    monkeypatch.setattr(datasets, "load", lambda *_, **__: data)
    return files.table


def written(table):
    return json.loads(table.read_text())


def test_shares_are_those_of_the_exit_rule_and_none_is_zero(tiny_model, data):
    content = calibrate_monitor(tiny_model, data).as_json()
    quantised = table_defence("", TABLE).pixels(data.calibration.pixels)
    for name, pixels in (("clean", data.calibration.pixels), ("clean_defq", quantised)):
        exits, _ = early_exit(score(tiny_model.network, pixels), 0.62)
        counts = np.bincount(exits, minlength=5) + 0.5
        np.testing.assert_allclose(content["shares"]["5"][name], counts / counts.sum(), atol=1e-6)
    for shares in content["shares"].values():
        assert tuple(sorted(shares)) == tuple(sorted(NAMES))
        for each in shares.values():
            assert len(each) == 5
            assert min(each) > 0
            assert sum(each) == pytest.approx(1, abs=1e-5)
        # the attack keeps frames from leaving early, DefQ lets some of them leave again
        assert sum(shares["attacked"][:3]) < sum(shares["attacked_defq"][:3]) < sum(shares["clean"][:3])


def test_the_command_writes_into_the_table_and_the_bundle_has_it(table, tmp_path, capsys):
    before = written(table)
    assert cli.main(["monitor", "--model", "vgg16"]) == 0
    assert re.search(r"RAD 5 %: clean 0\.\d+, attacked 0\.\d+", capsys.readouterr().out)
    after = written(table)
    assert {name: each for name, each in after.items() if name != "monitor"} == before
    assert after["monitor"]["weights_sha256"] == after["weights_sha256"]
    assert after["monitor"]["images"] == {"clean": 60, "linf": 60}
    assert after["monitor"]["attack"] == {"name": "DeepSloth L-inf", **asdict(QUICK["linf"])}

    network = tiny.network()
    content = replace(tiny.TABLE, monitor=read_table(table).monitor)
    settings = BundleSettings(split=2)
    tiny.write_bundle("tiny", network, tiny.card(network), content, tmp_path / "bundle", settings, tiny.frames())
    bundle = load_bundle(str(tmp_path / "bundle"))
    assert set(bundle.monitor) == {5, 10}
    np.testing.assert_allclose(bundle.monitor[10].attacked, after["monitor"]["shares"]["10"]["attacked"], atol=1e-5)
    watching = Monitor(bundle.monitor[5], bundle.split)
    assert any(watching.see(0, False) for _ in range(200))  # frames that stay, one after the other


def test_gate_and_monitor_keep_each_other_and_a_new_table_drops_both(table, monkeypatch, capsys):
    monkeypatch.setattr(gate_command, "calibrate_gate", lambda *_: GATE)
    assert cli.main(["monitor", "--model", "vgg16"]) == 0
    kept = written(table)["monitor"]
    assert cli.main(["gate", "--model", "vgg16"]) == 0
    assert written(table)["monitor"] == kept
    assert written(table)["gate"] == GATE.as_json()
    assert cli.main(["monitor", "--model", "vgg16"]) == 0
    assert written(table)["gate"] == GATE.as_json()

    network = tiny.network()
    monkeypatch.setattr(table_command, "load_network", lambda files: network)
    monkeypatch.setattr(table_command, "check_classes", lambda *_: None)
    assert cli.main(["table", "--model", "vgg16", "--samples", "10"]) == 0
    assert not {"gate", "monitor"} & set(written(table))
    said = capsys.readouterr().out
    assert "it has no noise gates, no attack monitor and no searched table yet" in said
    assert "defq gate --model vgg16" in said


def test_what_a_report_needs_is_asked_for_in_one_sentence(table, capsys):
    assert cli.main(["evaluate", "--monitor", "--quick", "--model", "vgg16"]) == 2
    assert f"found no monitor in {table}" in capsys.readouterr().err
    assert cli.main(["monitor", "--model", "vgg16"]) == 0
    content = written(table)
    content["monitor"]["weights_sha256"] = "of another network"
    table.write_text(json.dumps(content))
    assert cli.main(["evaluate", "--monitor", "--quick", "--model", "vgg16"]) == 3
    assert "found a monitor of weights of another " in capsys.readouterr().err
    content["monitor"]["weights_sha256"] = content["weights_sha256"]
    content["monitor"]["shares"]["5"]["clean"] = [0.5, 0.5]
    table.write_text(json.dumps(content))
    assert cli.main(["evaluate", "--monitor", "--quick", "--model", "vgg16"]) == 3
    error = capsys.readouterr().err
    assert f"found no usable monitor in {table}" in error
    assert error.count("\n") == 1


def test_the_report_of_a_network_holds_every_cell(table, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluation_cli, "QUICK", evaluation_cli.QUICK._replace(runs=2))
    assert cli.main(["monitor", "--model", "vgg16"]) == 0
    out = tmp_path / "reports"
    options = ["--monitor", "--quick", "--model", "vgg16", "--images", "40", "--out", str(out)]
    assert cli.main(["evaluate", *options]) == 0
    with (out / "monitor.csv").open() as file:
        rows = list(csv.DictReader(file))
    # without and with an attack of three strengths: two kinds of alarms and the all-clear; the closed loop; two RADs
    assert len(rows) == (3 * 4 + 3) * 2
    assert {row["attacked_images"] for row in rows} == {row["clean_images"] for row in rows} == {"40"}
    for row in rows:
        histogram = [int(each) for each in row["exit_histogram"].split()]
        assert len(histogram) == 4
        assert sum(histogram) == int(row["frames"])
    text = (out / "monitor.md").read_text()
    assert text.count("| vgg16 |") == 2 * 4
    assert "RAD 10 %" in text
    assert json.loads((out / "run.json").read_text())["monitor"]["runs"] == 2
    (out / "monitor.csv").write_text((out / "monitor.csv").read_text().replace("vgg16", "resnet56"))
    options[options.index("40")] = "30"
    assert cli.main(["evaluate", *options]) == 3  # not the others' 40
    assert "found 40 clean images of resnet56 in" in capsys.readouterr().err
    (out / "monitor.csv").write_text("model\nresnet56\n")  # of something else
    assert cli.main(["evaluate", *options]) == 3
    assert f"found the columns model in {out / 'monitor.csv'}; expected model,rad," in capsys.readouterr().err


SHARES = ExitShares(
    *(
        np.array(each)
        for each in ([0.3, 0.2, 0.1, 0.4], [0.01, 0.01, 0.03, 0.95], [0.3, 0.1, 0.1, 0.5], [0.1, 0.1, 0.1, 0.7])
    )
)
FALSE_ALARM_FRAMES = 400
ABOUT = Watched(model="vgg16", rad=5, threshold=0.7, split=3, clean_images=100, attacked_images=100)


def images(shares, quantised):
    """Exits of 100 images with these shares, without and with DefQ."""
    exits = (np.arange(4) + 1) % 4
    return np.stack([np.repeat(exits, np.rint(each * 100).astype(int)) for each in (shares, quantised)], axis=1)


@pytest.fixture(scope="module")
def rows():
    streams = Streams(images(SHARES.clean, SHARES.clean_defq), images(SHARES.attacked, SHARES.attacked_defq))
    return simulate(Monitor(SHARES, 3, FALSE_ALARM_FRAMES), streams, 40, ABOUT)


def wait(rows, event, defq, mix):
    (found,) = [row for row in rows if (row.event, row.defq, row.mix) == (event, defq, mix)]
    return found


def test_waits_are_those_of_a_monitor_that_sees_one_frame_after_another(rows):
    generator = np.random.default_rng(5)
    for defq, mix in ((False, 1.0), (False, 0.5), (True, 1.0)):
        clean, harmed = (SHARES.clean_defq, SHARES.attacked_defq) if defq else (SHARES.clean, SHARES.attacked)
        alone, watching = [], Monitor(SHARES, 3, FALSE_ALARM_FRAMES)
        for _ in range(60):
            count, watching.attacked = 0, False
            while not watching.attacked:
                bin_ = generator.choice(4, p=mix * harmed + (1 - mix) * clean)
                watching.see(int(bin_ + 1) % 4, defq)
                count += 1
            alone.append(count)
        found = wait(rows, "alarm", "on" if defq else "off", mix)
        assert found.changes >= 40
        assert found.mean == pytest.approx(np.mean(alone), rel=0.3)


def test_more_attacked_frames_are_found_sooner_and_clean_ones_seldom(rows):
    for defq in ("off", "on"):
        means = [wait(rows, "alarm", defq, mix).mean for mix in (1.0, 0.5, 0.2, 0.0)]
        assert means == sorted(means)
        assert means[-1] > 5 * means[0]
    over, false = wait(rows, "all-clear", "on", 0.0), wait(rows, "all-clear", "on", 1.0)
    assert false.changes / false.frames < 0.1 * over.changes / over.frames
    found = wait(rows, "alarm", "off", 0.5)
    assert found.median <= found.mean <= found.p95


def test_with_auto_attacked_frames_are_quantised_and_clean_ones_are_not(rows):
    all_of_them, few = wait(rows, "auto", "auto", 1.0), wait(rows, "auto", "auto", 0.2)
    assert all_of_them.attacked_quantised > 0.9
    assert all_of_them.attacked_quantised > few.attacked_quantised
    assert all_of_them.clean_quantised < 0.3
    assert all_of_them.frames == 40 * 3 * monitor.PHASE


def test_too_few_alarms_are_not_called_a_mean():
    never = ExitShares(*[np.array([0.25, 0.25, 0.25, 0.25])] * 4)
    same = images(never.clean, never.clean)
    rows = simulate(Monitor(never, 3, 100), Streams(same, same), 2, ABOUT)
    assert all(row.changes == 0 for row in rows if row.event != "auto")
    assert "| 0 in 1,000 |" in monitor_report(rows, "made up test images")
