"""A network of the user's own: the example of docs/ goes from a folder of images to decisions of the device, and no code runs that
the user has not named."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.bundle.reader import load_bundle
from device.commands import cli as device_cli
from device.commands import run as device_run
from device.errors import DataError, UsageError
from export.attacks.linf import DeepSlothLinf
from export.calibration.card import read_card
from export.commands import cli
from export.commands import table as table_command
from export.data.frames import write_frames
from export.networks import model_files, user_code
from export.networks.find import model_names
from export.networks.loading import load_network, planned
from export.networks.model_files import beside, find, find_own, made_here
from export.networks.model_folder import read_description
from export.networks.user_code import UserCode, named, spec_of
from export.networks.weights import save_network

ROOT = Path(__file__).resolve().parents[3]
CLASSES = ["bolt", "gear", "nut", "screw", "spring"]


def images(count, seed):
    """Images of five colours with noise, uint8 (n, 70, 64, 3), and their classes: they are not of the network's size."""
    labels = np.arange(count) % 5
    colours = np.random.default_rng(0).integers(60, 200, (5, 1, 1, 3))
    noise = np.random.default_rng(seed).normal(0, 30, (count, 70, 64, 3))
    return np.clip(colours[labels] + noise, 0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which the commands of the example were run, whose file is the only code that was added."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copy(ROOT / "docs" / "own_network.py", folder)
    for index, (pixels, label) in enumerate(zip(*images(100, 1), strict=True)):
        (folder / "photographs" / CLASSES[label]).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / "photographs" / CLASSES[label] / f"{index:03}.png"), pixels[:, :, ::-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(user_code, "_allowed", set())
        patch.setattr(model_files, "MADE_HERE", folder / "models")
        patch.setattr(table_command, "PER_SAMPLE", {"linf": DeepSlothLinf(iterations=3)})
        own = ["--network", "own_network.py:build"]
        train = ["--size", "64", "--data", "photographs", "--epochs", "10", "--batch", "20", "--peak-rate", "0.05"]
        assert cli.main(["train", *own, *train]) == 0
        assert cli.main(["calibrate", *own]) == 0
        assert cli.main(["table", *own, "--samples", "10"]) == 0
        assert cli.main(["bundle", *own, "--split", "2", "--out", "bundle"]) == 0
    return folder


@pytest.fixture
def here(folder, tmp_path, monkeypatch):
    """A copy of this folder, on a machine on which no code was named yet."""
    shutil.copytree(folder, tmp_path / "here", ignore=shutil.ignore_patterns("cache"))
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(user_code, "_allowed", set())
    monkeypatch.setattr(model_files, "MADE_HERE", Path("models"))
    return tmp_path / "here"


MODEL = Path("models/own_network")


def test_the_example_is_short():
    assert len((ROOT / "docs" / "own_network.py").read_text().splitlines()) <= 32


def test_the_model_folder_has_the_code_and_says_where_it_came_from(folder):
    assert sorted(file.name for file in (folder / MODEL).iterdir() if file.is_file()) == [
        "card.json", "card.md", "model.json", "network.py", "table.json", "weights.safetensors",
    ]  # fmt: skip
    content = (ROOT / "docs" / "own_network.py").read_bytes()
    assert (folder / MODEL / "network.py").read_bytes() == content
    code = UserCode(Path("f.py"), "build", content, "")
    assert json.loads((folder / MODEL / "model.json").read_text())["network"] == {
        "file": "network.py", "function": "build", "sha256": code.sha256, "origin": "own_network.py",
    }  # fmt: skip
    description = read_description(folder / MODEL / "model.json")
    assert description.family == "own_network"
    assert description.input_size == (64, 64)


def test_the_bundle_is_of_the_network(folder):
    bundle = load_bundle(str(folder / "bundle"))
    assert bundle.model == "own_network"
    assert bundle.labels == CLASSES
    assert bundle.input_shape == (3, 64, 64)
    assert bundle.activation_shape[1:] in ((16, 16), (8, 8))
    assert 0 <= bundle.threshold(10) <= bundle.threshold(5) <= 1


def test_commands_that_suggest_the_next_one_name_the_folder(here):
    assert find_own(named("own_network.py:build")).option == "--model models/own_network"


def test_code_that_nobody_named_is_not_run(here, capsys):
    """The code in a model folder that was downloaded could be any program, so that it is not run before the user names it."""
    for command in (["calibrate"], ["bundle", "--out", "b"], ["train", "--epochs", "1"]):
        assert cli.main([command[0], "--model", str(MODEL), *command[1:]]) == 3
        said = capsys.readouterr().err
        assert "found code in models/own_network/network.py that nobody has named on this machine" in said
        assert "name it once: --network models/own_network/network.py:build" in said
    assert cli.main(["calibrate", "--network", f"{MODEL}/network.py:build"]) == 0
    user_code._allowed.clear()  # another command
    assert cli.main(["calibrate", "--model", str(MODEL)]) == 0


def test_code_that_was_changed_is_not_run(here):
    named(f"{MODEL}/network.py")
    (MODEL / "network.py").write_text("raise SystemExit('run')")
    with pytest.raises(DataError, match="found another content in .*network.py .* than the model was trained with"):
        load_network(find(str(MODEL)))
    (MODEL / "network.py").unlink()
    with pytest.raises(DataError, match="could not read .*network.py"):
        load_network(find(str(MODEL)))


@pytest.mark.parametrize(
    "change",
    [{"family": "../x"}, {"network": {"file": "../network.py"}}, {"network": {"function": "a.b"}}, {"network": 7}],
)
def test_a_description_that_points_elsewhere_is_refused(here, change):
    named("own_network.py:build")
    content = json.loads((MODEL / "model.json").read_text())
    for name, value in change.items():
        content[name] = {**content[name], **value} if isinstance(value, dict) else value
    (MODEL / "model.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="could not read models/own_network/model.json"):
        find(str(MODEL))


def test_the_user_s_file_may_change_after_the_training(here):
    network = Path("own_network.py")
    named("own_network.py:build")
    network.write_text(network.read_text().replace("(8, 16, 16)", "(8, 16, 32)"))
    with pytest.raises(
        DataError, match="was not trained with own_network.py as it is now; .* --model models/own_network"
    ):
        find_own(named("own_network.py:build"))
    assert load_network(find(str(MODEL))).input_shape == (3, 64, 64)


def test_it_is_trained_again_in_its_folder(here):
    named("own_network.py:build")
    shutil.rmtree("build")
    assert cli.main(["train", "--model", str(MODEL), "--epochs", "1", "--exits", "1,3"]) == 0
    files = find(str(MODEL))
    assert files.description.exits == (1, 3)
    assert files.description.code.origin == "own_network.py"
    assert len(read_card(files).relative_costs) == 3
    shutil.rmtree("build")
    assert cli.main(["train", "--network", f"{MODEL}/network.py:build", "--epochs", "1"]) == 0
    assert find(str(MODEL)).description.family == "own_network"


def test_weights_from_elsewhere(here):
    """As docs/importing.md says it: built, filled, saved, calibrated."""
    code = named("own_network.py:build")
    network = spec_of("own_network", code).build(5, (72, 72))
    save_network(network, Path("theirs.safetensors"), classes=CLASSES)
    own = ["--network", "own_network.py:build", "--weights", "theirs.safetensors", "--data", "photographs"]
    assert cli.main(["calibrate", *own]) == 0
    files = beside("own_network", Path("theirs.safetensors"), code)
    assert files.description.input_size == (72, 72)
    assert files.option == "--network own_network.py:build --weights theirs.safetensors"
    assert len(read_card(files).relative_costs) == 4


def test_a_file_with_the_name_of_a_model_is_refused(here):
    shutil.copy("own_network.py", "mobilenet.py")
    with pytest.raises(UsageError, match="has the name of another model; .* rename the file"):
        named("mobilenet.py:build")
    assert "own_network" not in model_names()


def test_one_of_model_and_network(here, capsys):
    assert cli.main(["train", "--network", "own_network.py:build", "--model", "vgg16"]) == 2
    assert "--model: not allowed with argument --network" in capsys.readouterr().err
    assert cli.main(["evaluate", "--network", "own_network.py:build", "--model", "vgg16"]) == 2
    assert cli.main(["evaluate", "--network", "own_network.py:build", "--paper"]) == 2


@pytest.mark.parametrize("text", ["own_network", "own_network.py:", "own_network.py:a b", "own.txt:build", ""])
def test_what_names_no_function_is_one_sentence(here, text):
    with pytest.raises(UsageError, match="^found --network .*; expected FILE.py:FUNCTION, a function of"):
        named(text)


SDN = "from export.networks.sdn import SDN, InternalClassifier\nfrom torch import nn\n"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("build = 7", "found no function build in own.py"),
        ("def other(classes, size): ...", "found no function build in own.py"),
        ("def build(classes", "could not run own.py (SyntaxError: "),
        ("import a_module_that_is_not_there", "could not run own.py (ModuleNotFoundError: No module named"),
        ("raise SystemExit(0)", "could not run own.py (SystemExit: 0)"),
        ("def build(): ...", "could not build own.py:build for 2 classes and 32 x 32 pixels (TypeError: "),
        ("def build(classes, size): ...", "(TypeError: it gave NoneType)"),
        (SDN + "def build(c, s): return SDN(nn.Identity(), [nn.Identity()], [nn.Linear(3, c)], nn.Linear(3, c), (3, *s))", "could not build"),
        (SDN + "def build(c, s): return SDN(nn.Identity(), [nn.Identity()], [InternalClassifier(3, 32, 7)], nn.Sequential(nn.Flatten(), "
         "nn.Linear(3072, 7)), (3, *s))", "found an input of (3, 32, 32) and logits of (2, 2, 7) in own.py:build"),
        (SDN + "def build(c, s): return SDN(nn.Identity(), [nn.Identity()], [InternalClassifier(3, 32, c)], nn.Sequential(nn.Flatten(), "
         "nn.Linear(3072, c)), (3, 32, 33))", "found an input of (3, 32, 33)"),
    ],
)  # fmt: skip
def test_code_that_does_not_work_is_one_sentence(here, program, words):
    Path("own.py").write_text(program)
    with pytest.raises(DataError) as error:
        planned("own", (32, 32), "crop", code=named("own.py"))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_without_a_home_each_command_names_it_anew(here, monkeypatch):
    monkeypatch.setattr(user_code, "user_cache", lambda: None)
    named("own_network.py:build")
    assert load_network(find(str(MODEL))).input_shape == (3, 64, 64)
    user_code._allowed.clear()
    with pytest.raises(DataError, match="nobody has named on this machine"):
        load_network(find(str(MODEL)))


def test_before_the_training_there_are_no_weights(here):
    shutil.rmtree(made_here("own_network").weights.parent)
    with pytest.raises(
        UsageError, match="found no weights of own_network.py:build; .* defq train --network own_network.py:build"
    ):
        find_own(named("own_network.py:build"))


@pytest.mark.parametrize("defq", ["on", "off"])
def test_the_device_decides_with_it(folder, tmp_path, monkeypatch, defq):
    monkeypatch.setattr(device_run, "stop_on_signals", lambda: None)  # pytest's own handlers should survive
    bundle = load_bundle(str(folder / "bundle"))
    pixels, labels = images(20, 2)
    write_frames(tmp_path / "frames.npz", pixels, labels)
    source, out = f"npz:{tmp_path / 'frames.npz'}", tmp_path / "out.jsonl"
    options = ["--bundle", bundle.path, "--source", source, "--threads", "1", "--defq", defq, "--jsonl", str(out)]
    assert device_cli.main(["run", *options]) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(20))
    assert {line["exit"] for line in lines} <= {1, 2}
    assert {line["source"] for line in lines} <= {"edge", "fallback"}
    assert all(line["label"] == CLASSES[line["label_id"]] for line in lines)
    assert np.mean([line["label_id"] == line["truth"] for line in lines]) > 0.5  # chance is 0.2
