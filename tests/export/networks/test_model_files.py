"""Which files a command reads and writes, from training to a bundle."""

import hashlib
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from device.bundle.reader import load_bundle
from device.errors import DataError, OutputError, UsageError
from export.attacks.linf import DeepSlothLinf
from export.calibration import attacked_images, gate
from export.calibration import monitor as monitor_shares
from export.calibration import search as table_search
from export.calibration.card import read_card
from export.calibration.model import model_to_evaluate
from export.calibration.table_file import write_table
from export.calibration.table_reader import own_table
from export.commands import attack as attack_command
from export.commands import calibrate as calibrate_command
from export.commands import cli, inputs
from export.commands import table as table_command
from export.commands import train as train_command
from export.data import datasets
from export.data.frames import write_frames
from export.data.images import Dataset, Images
from export.data.shipped import MODELS, TABLES
from export.networks import mobilenet
from export.networks.model_files import beside, destination, find, made_here, shipped, shown
from export.networks.model_folder import ModelDescription, described, read_description, write_description
from export.networks.weights import metadata, save_network, trained_classes
from tests import tiny

QUICK = {"linf": DeepSlothLinf(iterations=2), "l2": DeepSlothLinf(iterations=1)}


def contents(*folders):
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for folder in folders for file in folder.iterdir()}


@pytest.fixture
def data():
    pixels = tiny.frames(60)
    images = Images(pixels, np.arange(60) % 3)
    return Dataset(images, images, images, tuple(tiny.CLASSES), "made up", name="patches")


@pytest.fixture
def commands(tmp_path, monkeypatch, data):
    """All commands on the tiny network under the name of a real one, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEFQ_ATTACKS", str(tmp_path / "attacks"))
    monkeypatch.setattr(mobilenet, "SPEC", tiny.SPEC)
    monkeypatch.setattr(datasets, "load", lambda *_, **__: data)
    monkeypatch.setattr(inputs, "check_data_named", lambda *_: None)
    for module in (table_command, attacked_images, monitor_shares):
        monkeypatch.setattr(module, "PER_SAMPLE", QUICK)
    monkeypatch.setattr(attack_command, "DeepSlothLinf", lambda: QUICK["linf"])
    monkeypatch.setattr(gate, "STRONG_RANGES", ((20, 60),))
    monkeypatch.setattr(gate, "WEAK_RANGES", ((5, 20),))
    monkeypatch.setattr(table_search, "FACTORS", ())

    def run(command, *options):
        return cli.main([command, "--model", "mobilenet", *map(str, options)])

    return run


def train(run, *options):
    return run("train", "--epochs", 1, "--batch", 20, "--peak-rate", 0.001, *options)


def test_each_command_finds_what_the_ones_before_wrote_and_none_touches_what_is_shipped(commands, tmp_path, capsys):
    before = contents(MODELS, TABLES)
    made = made_here("mobilenet")
    assert train(commands) == 0
    assert made.weights.is_file()
    assert made.card.with_suffix(".md").is_file()
    assert f"writes {made.weights} and, after every epoch, build/train/mobilenet.checkpoint" in capsys.readouterr().out
    made.card.unlink()
    for command, written in (
        (("calibrate",), "card.json"),
        (("table", "--samples", "20"), "table.json"),
        (("gate",), "table.json"),
        (("gate", "--last-exit", "5"), "table.json"),
        (("monitor",), "table.json"),
        (("search",), "table.json"),
    ):
        assert commands(*command) == 0
        said = capsys.readouterr().out
        assert f"reads weights {shown(made.weights)}" in said
        assert f"wrote {made.weights.with_name(written)}" in said
    table = json.loads(made.table.read_text())
    assert {"gate", "last_exit_gates", "monitor", "searched"} <= set(table)
    assert commands("evaluate", "--defenses", "none,defq,gated,searched,gated@last", "--images", 10) == 0
    assert commands("attack", "--out", tmp_path / "frames", "--images", 10) == 0
    said = capsys.readouterr().out
    assert said.count(f"reads weights {shown(made.weights)}") == 2
    assert commands("bundle", "--out", tmp_path / "bundle", "--split", 2) == 0
    found = load_bundle(str(tmp_path / "bundle"))
    assert found.table.tolist() == table["table"]
    assert found.manifest["provenance"]["weights_sha256"] == made.sha256 == table["weights_sha256"]
    assert found.gate is not None
    assert contents(MODELS, TABLES) == before


def test_out_names_another_place(commands, tmp_path, capsys):
    out = tmp_path / "mine" / "tiny.safetensors"
    assert train(commands, "--out", out) == 0
    assert not made_here("mobilenet").weights.exists()
    assert commands("table", "--weights", out, "--samples", 20) == 0
    assert f"defq gate --model mobilenet --weights {shown(out)}" in capsys.readouterr().out
    assert commands("monitor", "--weights", out, "--out", tmp_path / "other.json") == 0
    assert sorted(file.name for file in out.parent.iterdir()) == [
        "tiny.json", "tiny.md", "tiny.model.json", "tiny.safetensors", "tiny.table.json"
    ]  # fmt: skip
    assert "monitor" not in json.loads(out.with_name("tiny.table.json").read_text())
    assert "monitor" in json.loads((tmp_path / "other.json").read_text())


def test_weights_of_another_suffix_are_refused_before_they_are_trained(commands, tmp_path, capsys):
    assert train(commands, "--out", tmp_path / "last") == 2
    assert "expected a file that ends in .safetensors" in capsys.readouterr().err


def test_what_is_made_of_shipped_weights_goes_elsewhere_and_is_found_there(tmp_path):
    files = find("vgg16")
    assert files == shipped("vgg16")
    made = destination(files)
    assert made == made_here("vgg16")
    assert not {made.card.parent, made.table.parent} & {MODELS, TABLES}
    made.table.parent.mkdir(parents=True)
    write_table(replace(own_table(files), gate=None), made.table)
    assert find("vgg16") == replace(files, table=made.table)
    content = {**json.loads(made.table.read_text()), "weights_sha256": "of others"}
    for spoilt in (json.dumps(content), "[]", "no JSON"):
        made.table.write_text(spoilt)
        assert find("vgg16") == files


def test_weights_that_were_trained_here_come_first_and_are_not_mixed_with_shipped_ones():
    made = made_here("vgg16")
    save_network(tiny.network(), made.weights)
    assert find("vgg16") == made
    assert destination(made) == made
    named = find("vgg16", shipped("vgg16").weights)
    assert named == shipped("vgg16")
    with pytest.raises(UsageError, match="found weights that were trained here .* name a file with --out"):
        destination(named)
    assert find("vgg16").option == "--model vgg16"
    assert named.option == f"--model vgg16 --weights {shown(named.weights)}"


def test_a_table_or_card_of_other_weights_is_refused_by_name(tmp_path, data):
    save_network(tiny.network(), tmp_path / "w.safetensors")
    files = beside("mobilenet", tmp_path / "w.safetensors")
    with pytest.raises(
        DataError, match=r"found no table .*w\.safetensors; expected .*w\.table\.json; learn it with: .*--weights"
    ):
        own_table(files)
    files.table.write_text(shipped("mobilenet").table.read_text())
    with pytest.raises(DataError, match=r"found a table learned on weights 2438930c0357 in .*w\.table\.json"):
        own_table(files)
    files.card.write_text(shipped("mobilenet").card.read_text())
    with pytest.raises(DataError, match=r"found a calibration for weights 2438930c0357 in .*w\.json"):
        read_card(files)
    files.card.write_text("[]")
    with pytest.raises(DataError, match=r"could not read the calibration .*w\.json"):
        read_card(files)


def test_evaluation_of_own_weights_takes_their_table_or_says_that_there_is_none(commands, tmp_path, data, capsys):
    weights = tmp_path / "w.safetensors"
    save_network(tiny.network(), weights)
    files = beside("mobilenet", weights)
    assert commands("evaluate", "--weights", weights, "--attacks", "clean", "--defenses", "none,flat:40") == 0
    assert "defences that take the network's table cannot be evaluated: found no table" in capsys.readouterr().err
    for name in (
        "defq",
        "gated",
        "searched",
        "defq:20-60",
        "defq*2",
        "flat",
        "transposed",
        "moving-grid",
        "gated@last",
    ):
        assert commands("evaluate", "--weights", weights, "--attacks", "clean", "--defenses", name) == 2
        assert "for weights without a table of their own" in capsys.readouterr().err, name
    own = np.full((8, 8), 33)
    files.table.write_text(json.dumps({"table": own.tolist(), "weights_sha256": files.sha256}))
    assert commands("calibrate", "--weights", weights) == 0
    found = model_to_evaluate(files, data)
    assert np.array_equal(found.own_table().steps, own)
    assert commands("evaluate", "--weights", weights, "--attacks", "clean", "--defenses", "defq") == 0
    assert commands("evaluate", "--weights", weights, "--attacks", "clean", "--defenses", "gated") == 2
    assert f"found no gate in {files.table}" in capsys.readouterr().err


def test_weights_say_what_they_were_trained_on(commands, data):
    assert train(commands) == 0
    made = made_here("mobilenet")
    card = read_card(made)
    assert card.data.sha256 == data.sha256()
    assert card.data.order == data.order
    assert trained_classes(made.weights) == tiny.CLASSES
    assert metadata(made.weights)["data_sha256"] == data.sha256()
    assert "epochs 1" in metadata(made.weights)["recipe"]
    text = made.card.with_suffix(".md").read_text()
    assert "CIFAR" not in text
    assert "patches, 60 to train" in text


@pytest.mark.parametrize(
    "command",
    [["train"], ["train", "--checkpoint"], ["calibrate"], ["table"], ["gate"], ["monitor"], ["search"]],
    ids=" ".join,
)
def test_what_cannot_be_written_is_refused_before_the_work(command, commands, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_command, "trained_network", lambda *_, **__: pytest.fail("trained"))
    for module in (train_command, calibrate_command, table_command):
        monkeypatch.setattr(module, "load_network", lambda *_: pytest.fail("worked"))
    monkeypatch.setattr(inputs, "calibrated_model", lambda *_: pytest.fail("worked"))
    (tmp_path / "file").write_text("")
    option = command[1] if len(command) > 1 else "--out"
    assert commands(command[0], option, tmp_path / "file" / "x.safetensors") == 3
    assert f"could not write {tmp_path}/file/x.safetensors" in capsys.readouterr().err


def test_tables_and_frames_that_cannot_be_written_are_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not make the folder .*--out"):
        write_table(own_table(shipped("vgg16")), tmp_path / "file" / "t.json")
    with pytest.raises(OutputError, match="could not (write|make) .*--out"):
        write_frames(tmp_path / "file" / "f.npz", tiny.frames(1))


def test_every_command_takes_the_model_folder_that_training_writes(commands, tmp_path, capsys):
    folder = tmp_path / "mine"
    assert train(commands, "--out", folder / "weights.safetensors") == 0
    assert "learn its table with: defq table --model mine\n" in capsys.readouterr().out
    assert sorted(file.name for file in folder.iterdir()) == [
        "card.json",
        "card.md",
        "model.json",
        "weights.safetensors",
    ]

    def run(command, *options):
        return cli.main([command, "--model", str(folder), *map(str, options)])

    assert run("calibrate") == 0
    assert run("table", "--samples", 20) == 0
    for command in ("gate", "monitor", "search"):
        assert run(command) == 0, command
    assert (folder / "table.json").is_file()
    assert run("evaluate", "--defenses", "none,gated", "--images", 10) == 0
    assert run("attack", "--out", tmp_path / "frames", "--images", 10) == 0
    assert run("bundle", "--out", tmp_path / "bundle", "--split", 2) == 0
    assert load_bundle(str(tmp_path / "bundle")).model == "mobilenet"
    assert not made_here("mobilenet").weights.parent.exists()
    capsys.readouterr()
    assert run("gate", "--weights", folder / "weights.safetensors") == 2
    assert "found --weights beside the model folder" in capsys.readouterr().err
    assert run("evaluate", "--paper") == 2
    assert "beside a report; expected one of vgg16" in capsys.readouterr().err
    before = metadata(folder / "weights.safetensors")["recipe"]
    (tmp_path / "build/train/mobilenet.checkpoint").unlink()
    assert run("train", "--epochs", 2, "--batch", 20, "--peak-rate", 0.001) == 0  # trained anew, in its folder
    assert metadata(folder / "weights.safetensors")["recipe"] != before


def test_a_folder_says_which_network_it_holds(tmp_path, data):
    description = described(ModelDescription("mobilenet", (16, 16), "stretch", (), (1, 2, 3, 4)), data)
    write_description(description, tmp_path / "model.json")
    assert read_description(tmp_path / "model.json") == description
    assert find(str(tmp_path)) == beside("mobilenet", tmp_path / "weights.safetensors")
    earlier = tmp_path / "vgg16"  # folders of early releases have no model.json
    earlier.mkdir()
    assert find(str(earlier)).model == "vgg16"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"family": "alexnet"},
            "found a model of the family 'alexnet' in .*model.json; expected one of efficientnet_lite0, mobilenet",
        ),
        ({"input": {"height": 0}}, "found 0 under input.height"),
        (
            {"input": {"height": 16, "width": 16, "fit": "zoom"}},
            "found 'zoom' under input.fit; expected crop, letterbox or",
        ),
        ({"classes": 7}, "found 7 under classes; expected a list of texts"),
        ({"split": {}}, "found no split.train"),
    ],
)
def test_a_folder_with_a_wrong_description_is_refused(change, message, tmp_path, data):
    content = described(ModelDescription("mobilenet", (16, 16), "stretch", (), (1, 2, 3, 4)), data).as_json()
    (tmp_path / "model.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(DataError, match=message):
        find(str(tmp_path))


def test_what_is_neither_a_name_nor_a_model_folder_is_refused(tmp_path, capsys):
    with pytest.raises(DataError, match=r"could not read .*model.json .* expected a model folder"):
        find(str(tmp_path))
    assert cli.main(["gate", "--model", "alexnet"]) == 2
    assert (
        "found --model 'alexnet'; expected one of efficientnet_lite0, mobilenet, resnet56, signs, vgg16, or the folder"
        in capsys.readouterr().err
    )


def test_a_model_folder_keeps_its_attacked_images(commands, tmp_path, monkeypatch):
    monkeypatch.delenv("DEFQ_ATTACKS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert train(commands) == 0
    assert commands("table", "--samples", 20) == 0
    assert commands("monitor") == 0
    assert list((made_here("mobilenet").weights.parent / "attacks").glob("*.npy"))
    assert shipped("vgg16").attacks == tmp_path / "cache" / "defq" / "attacks"
    assert not shipped("vgg16").attacks.exists()


@pytest.fixture
def photographs(tmp_path):
    """A folder of 16 x 16 photographs of the classes of the tiny network, and what puts others there."""

    def write(folder, seed):
        for index, pixels in enumerate(tiny.frames(60)):
            file = folder / tiny.CLASSES[index % 3] / f"{index:02}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), pixels if seed == 0 else pixels[::-1])
        return folder

    return write


def test_a_model_folder_finds_its_photographs_again(tmp_path, monkeypatch, capsys, photographs):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mobilenet, "SPEC", tiny.SPEC)
    folder, made = photographs(tmp_path / "mine", 0), made_here("mobilenet")
    run = ["--model", str(made.weights.parent)]
    options = ["--epochs", "1", "--batch", "20", "--peak-rate", "0.001"]
    assert cli.main(["train", "--model", "mobilenet", "--data", "mine", *options]) == 0
    assert made.description.photographs.folder == str(folder)
    monkeypatch.chdir(tmp_path.parent)  # the path is kept as an absolute one
    assert cli.main(["calibrate", *run]) == 0
    folder.rename(tmp_path / "moved")
    capsys.readouterr()
    assert cli.main(["calibrate", *run]) == 3
    assert f"found no folder {folder}, where the photographs of" in capsys.readouterr().err
    assert cli.main(["calibrate", *run, "--data", str(tmp_path / "moved")]) == 0
    assert cli.main(["calibrate", *run]) == 0  # it remembers where they are now
    photographs(tmp_path / "moved", 1)
    capsys.readouterr()
    assert cli.main(["calibrate", *run]) == 3
    said = capsys.readouterr().err
    assert "found other photographs in" in said
    assert said.count("\n") == 1
    assert cli.main(["calibrate", *run, "--data", str(tmp_path / "moved")]) == 0
    assert cli.main(["train", *run, *options]) == 0
    assert cli.main(["calibrate", *run]) == 0


def test_a_model_folder_of_another_version_is_one_sentence(tmp_path, capsys):
    (tmp_path / "model.json").write_text('{"format": "defq-model", "format_version": 7}')
    assert cli.main(["calibrate", "--model", str(tmp_path)]) == 3
    assert "'defq-model' in version 7" in capsys.readouterr().err
