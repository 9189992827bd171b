"""Training: it is continued where it was stopped, and what is no checkpoint of it is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from device.errors import DataError, OutputError
from export.data.backgrounds import Backgrounds
from export.data.cifar10 import CLASSES as CIFAR10_CLASSES
from export.data.images import Dataset, Images
from export.networks import mobilenet, training
from export.networks.bfloat16 import slow_depthwise_in_float32
from export.networks.loading import load_network
from export.networks.model_files import beside, shipped
from export.networks.model_folder import ModelDescription
from export.networks.spec import Recipe
from export.networks.training import train
from export.networks.weights import save_network, weights_file
from tests import tiny

TINY = ModelDescription("mobilenet", (16, 16), "stretch", (), (1, 2, 3, 4))


@pytest.fixture
def data(monkeypatch):
    pixels = tiny.frames(60)
    labels = np.arange(60) % 3
    monkeypatch.setattr(mobilenet, "SPEC", tiny.SPEC)
    part = Images(pixels, labels.astype(np.int64))
    return Dataset(part, part.take(20), part.take(20), CIFAR10_CLASSES[:3], "test")


PHOTOGRAPHS = Recipe(
    epochs=3, batch=20, peak_rate=0.01, photographs=True, quantised=0.25, exit_weight=0.3, distilled=0.5, patience=5
)


@pytest.mark.parametrize("recipe", [Recipe(epochs=3, batch=20, peak_rate=0.01), PHOTOGRAPHS])
def test_a_killed_run_goes_on_where_it_was(recipe, data, tmp_path, capsys):
    whole = train(TINY, data, recipe, tmp_path / "a")
    with pytest.MonkeyPatch.context() as patch:  # killed after two epochs
        real = training._Training.epoch

        def dies(self, epoch):
            if epoch == 2:
                raise KeyboardInterrupt
            return real(self, epoch)

        patch.setattr(training._Training, "epoch", dies)
        with pytest.raises(KeyboardInterrupt):
            train(TINY, data, recipe, tmp_path / "b")
    resumed = train(TINY, data, recipe, tmp_path / "b")
    assert "goes on after epoch 2 of 3" in capsys.readouterr().out
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, atol=2e-3, rtol=2e-2)


def test_it_stops_early_and_takes_the_best_weights(data, tmp_path, capsys, monkeypatch):
    accuracies = iter([0.5, 0.7, 0.6, 0.7, 0.9])
    states = []

    def see(network, _pixels):
        states.append({name: value.clone() for name, value in network.state_dict().items()})

    monkeypatch.setattr(training, "score", see)
    monkeypatch.setattr(training, "exit_accuracies", lambda _scores, _labels: [next(accuracies)] * 5)
    recipe = replace(PHOTOGRAPHS, epochs=20, patience=2)
    network = train(TINY, data, recipe, tmp_path / "a")
    assert "stops after epoch 4: no better since epoch 2" in capsys.readouterr().out
    for name, value in network.state_dict().items():
        assert torch.equal(value, states[1][name])
    again = train(TINY, data, recipe, tmp_path / "a")  # it knows that it is finished
    assert len(states) == 4
    assert torch.equal(again.state_dict()["end.2.weight"], network.state_dict()["end.2.weight"])


@pytest.mark.parametrize("started", [True, False])
def test_frozen_training_changes_the_internal_classifiers_alone(started, data, tmp_path):
    start = tmp_path / "w.safetensors"
    save_network(tiny.network(), start)
    before = load_network(beside("mobilenet", start)).state_dict() if started else tiny.network().state_dict()
    recipe = Recipe(epochs=1, batch=20, peak_rate=0.1, frozen=True)
    after = train(TINY, data, recipe, tmp_path / "a", beside("mobilenet", start) if started else None).state_dict()
    changed = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == ({"ics"} if started else {"ics", "end"})


@pytest.mark.parametrize(("capability", "bfloat16"), [("AVX2", False), ("AVX512", True)])
def test_bfloat16_is_used_where_the_processor_has_it(capability, bfloat16, data, tmp_path, monkeypatch):
    used = []

    def autocast(device, dtype, enabled):
        used.append(enabled)
        return torch.autocast(device, dtype=dtype, enabled=False)

    monkeypatch.setattr(training.torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(training, "autocast", autocast)
    train(TINY, data, Recipe(epochs=1, batch=20, peak_rate=0.01), tmp_path / "a")
    assert set(used) == {bfloat16}


def test_slow_depthwise_convolutions_stay_out_of_the_autocast():
    kinds = {"strided": (nn.Conv2d(4, 4, 3, 2, 1, groups=4), 8), "plain": (nn.Conv2d(4, 4, 3, 1, 1, groups=4), 8)}
    kinds |= {"tiny map": (nn.Conv2d(4, 4, 3, 1, 1, groups=4), 2), "dense": (nn.Conv2d(4, 4, 3, 2, 1), 8)}
    kinds |= {"wide kernel": (nn.Conv2d(4, 4, 5, 1, 2, groups=4), 8)}
    slow_depthwise_in_float32(nn.ModuleList(convolution for convolution, _ in kinds.values()))
    dtypes = {}
    for name, (convolution, size) in kinds.items():
        features = torch.rand(2, 4, size, size, generator=torch.Generator().manual_seed(0))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            dtypes[name] = convolution(features.bfloat16()).dtype
        assert torch.equal(convolution(features), nn.Conv2d.forward(convolution, features))
    assert dtypes == {
        "strided": torch.float32,
        "plain": torch.bfloat16,
        "tiny map": torch.float32,
        "dense": torch.bfloat16,
        "wide kernel": torch.float32,
    }


def test_weights_survive_the_file(tmp_path):
    network = load_network(shipped("resnet56"))
    save_network(network, tmp_path / "w.safetensors", "recipe")
    again = load_network(beside("resnet56", tmp_path / "w.safetensors"))
    for name, value in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(again.state_dict()[name], value)


def test_weights_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="could not load"):
        load_network(beside("vgg16", tmp_path / "absent.safetensors"))
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights_file("resnet56").read_bytes()[:100000])
    with pytest.raises(DataError, match="could not load"):
        load_network(beside("resnet56", cut))
    with pytest.raises(DataError, match="another network|could not load"):
        load_network(beside("vgg16", weights_file("resnet56")))


def refused(data, recipe, checkpoint, *words):
    before = checkpoint.read_bytes()
    with pytest.raises(DataError) as error:
        train(TINY, data, recipe, checkpoint)
    assert checkpoint.read_bytes() == before
    for word in (str(checkpoint), "expected", "--checkpoint", *words):
        assert word in str(error.value), str(error.value)


def test_a_checkpoint_of_other_data_or_another_recipe_is_refused_by_name(data, tmp_path):
    recipe = Recipe(epochs=1, batch=20, peak_rate=0.01)
    checkpoint = tmp_path / "c"
    train(TINY, data, recipe, checkpoint)
    other = data._replace(train=data.train._replace(pixels=255 - data.train.pixels), source="images in B")
    refused(
        other,
        recipe,
        checkpoint,
        f"data {data.sha256()[:12]} there, {other.sha256()[:12]} here",
        "(test there, images in B here)",
    )
    refused(data, replace(recipe, peak_rate=0.02), checkpoint, "peak_rate 0.01 there, 0.02 here;")
    refused(
        data, replace(recipe, quantised=0.5, seed=3), checkpoint, "quantised 0.0 there, 0.5 here, seed 0 there, 3 here;"
    )
    with pytest.raises(
        DataError, match="with exits 1, 2, 3, 4 there, mobilenet for 16 x 16 pixels with exits 1, 3 here"
    ):
        train(replace(TINY, exits=(1, 3)), data, recipe, checkpoint)
    save_network(tiny.network(), tmp_path / "w.safetensors")
    with pytest.raises(DataError, match="start random weights there, [0-9a-f]{12} here"):
        train(TINY, data, recipe, checkpoint, beside("mobilenet", tmp_path / "w.safetensors"))
    train(TINY, data._replace(source="the same in another folder"), recipe, checkpoint)


def test_epochs_beyond_a_finished_schedule_say_why_not(data, tmp_path):
    recipe = Recipe(epochs=2, batch=20, peak_rate=0.01)
    train(TINY, data, recipe, tmp_path / "c")
    words = ("found a finished run of 2 epochs", "expected --epochs 2", "--start FILE")
    refused(data, replace(recipe, epochs=5), tmp_path / "c", *words)


def test_what_is_no_checkpoint_of_ours_is_one_sentence(data, tmp_path):
    recipe = Recipe(epochs=1, batch=20, peak_rate=0.01)
    checkpoint = tmp_path / "c"
    train(TINY, data, recipe, checkpoint)
    whole = checkpoint.read_bytes()
    state = torch.load(checkpoint, weights_only=True)
    for content in (b"", b"text", whole[:1000], whole[:-500]):
        checkpoint.write_bytes(content)
        refused(data, recipe, checkpoint, "could not read the checkpoint")
    for content in (
        [1],
        {"a": 1},
        {"epoch": 1, "origin": 7},
    ):
        torch.save(content, checkpoint)
        refused(data, recipe, checkpoint, "could not read the checkpoint")
    torch.save({name: part for name, part in state.items() if name != "origin"}, checkpoint)
    refused(data, recipe, checkpoint, "does not name its data and its recipe, like those of early releases")


def test_weights_and_checkpoints_that_cannot_be_written_are_one_sentence(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not write the checkpoint .*--checkpoint"):
        train(TINY, data, Recipe(epochs=1, batch=20, peak_rate=0.01), tmp_path / "file" / "c")
    with pytest.raises(OutputError, match="could not make the folder .*--out"):
        save_network(tiny.network(), tmp_path / "file" / "w.safetensors")


def test_photographs_are_shown_before_other_backgrounds_and_a_checkpoint_names_them(data, tmp_path):
    recipe = replace(PHOTOGRAPHS, epochs=1, pasted=0.5)
    black, white = (Backgrounds(*[np.full((2, 24, 24, 3), grey, np.uint8)] * 2) for grey in (0, 255))
    trained = [train(TINY, data, recipe, tmp_path / name, backgrounds=each).state_dict()["end.2.weight"]
               for name, each in (("a", black), ("b", white))]  # fmt: skip
    assert not torch.equal(*trained)
    with pytest.raises(DataError, match="backgrounds .* there, .* here"):
        train(TINY, data, recipe, tmp_path / "a", backgrounds=white)


def test_other_images_than_those_to_calibrate_may_be_scored(data, tmp_path, monkeypatch):
    scored = []
    monkeypatch.setattr(training, "score", lambda _network, pixels: scored.append(len(pixels)))
    monkeypatch.setattr(training, "exit_accuracies", lambda _scores, _labels: [0.5] * 5)
    train(TINY, data, replace(PHOTOGRAPHS, epochs=1), tmp_path / "a", seen=data.train.take(7))
    assert scored == [7]
