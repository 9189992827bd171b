"""The training of a hardened twin, on a network of four blocks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from device.errors import DataError
from export.attacks.label import LabelLinf, label_loss
from export.attacks.one_step import OneStepLinf
from export.data.cifar10 import CLASSES as CIFAR10_CLASSES
from export.data.images import Dataset, Images
from export.networks import hardening, mobilenet
from export.networks.exits import ending_at
from export.networks.hardening import HardeningRecipe, accuracies, hardened
from export.networks.model_files import beside
from export.networks.weights import save_network, to_tensor
from tests import tiny

QUICK = HardeningRecipe(epochs=3, batch=20, peak_rate=0.01, averaged=0.5)


@pytest.fixture
def data():
    part = Images(tiny.frames(60), (np.arange(60) % 3).astype(np.int64))
    return Dataset(part, part.take(20), part.take(20), CIFAR10_CLASSES[:3], "test")


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(mobilenet, "SPEC", tiny.SPEC)
    weights = tmp_path / "w.safetensors"
    save_network(tiny.network(), weights)
    return beside("mobilenet", weights)


def state(network):
    return network.state_dict()


def test_a_killed_run_goes_on_where_it_was(files, data, tmp_path, capsys):
    whole = hardened(files, 3, data, QUICK, tmp_path / "a")
    with pytest.MonkeyPatch.context() as patch:
        real = hardening._Hardening.epoch

        def dies(self, epoch):
            if epoch == 2:
                raise KeyboardInterrupt
            return real(self, epoch)

        patch.setattr(hardening._Hardening, "epoch", dies)
        with pytest.raises(KeyboardInterrupt):
            hardened(files, 3, data, QUICK, tmp_path / "b")
    resumed = hardened(files, 3, data, QUICK, tmp_path / "b")
    out = capsys.readouterr().out
    assert "goes on after epoch 2 of 3" in out
    assert "at most about" in out
    for name, value in state(whole).items():
        torch.testing.assert_close(state(resumed)[name], value, atol=2e-3, rtol=2e-2)


@pytest.mark.parametrize(
    "recipe", [QUICK, replace(QUICK, photographs=True, flips=False), replace(QUICK, clean=0.4, slowed=0.6)]
)
def test_it_ends_at_the_exit_and_changes_its_weights(recipe, files, data, tmp_path):
    before = ending_at(tiny.network(), 3)
    twin = hardened(files, 3, data, recipe, tmp_path / "a")
    assert len(twin.ics) == 2
    assert not twin.training
    images = to_tensor(data.test.pixels)
    assert twin(images).shape == before(images).shape == (3, 20, 3)
    assert not torch.allclose(twin(images), before(images))


def test_a_checkpoint_of_another_exit_or_recipe_is_refused(files, data, tmp_path):
    hardened(files, 3, data, QUICK, tmp_path / "a")
    with pytest.raises(DataError, match="another run"):
        hardened(files, 2, data, QUICK, tmp_path / "a")
    with pytest.raises(DataError, match="clean"):
        hardened(files, 3, data, replace(QUICK, clean=0.5), tmp_path / "a")
    hardened(files, 3, data, replace(QUICK, patience=9), tmp_path / "a")  # how long to wait is no part of the recipe


def test_it_stops_early_and_takes_the_best_weights(files, data, tmp_path, capsys, monkeypatch):
    seen, figures = [], iter([0.9, 0.3, 0.6, 0.5, 0.4, 0.7])

    def fake(network, _images):
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return 1.0, next(figures), 0.0

    monkeypatch.setattr(hardening, "accuracies", fake)
    recipe = replace(QUICK, epochs=6, patience=2)  # the first three epochs, in which the attacks grow, do not count
    twin = hardened(files, 3, data, recipe, tmp_path / "a")
    assert "stops after epoch 5: no better since epoch 1" in capsys.readouterr().out
    assert all(torch.equal(value, seen[0][name]) for name, value in state(twin).items())
    again = hardened(files, 3, data, recipe, tmp_path / "a")  # it knows that it is finished
    assert len(seen) == 5
    assert all(torch.equal(value, seen[0][name]) for name, value in state(again).items())


def test_the_attacks_grow_until_the_middle():
    recipe = HardeningRecipe()
    assert recipe.eps_at(0) == 4 / 256
    assert recipe.eps_at(0.25) == pytest.approx(6 / 256)
    assert recipe.eps_at(0.5) == recipe.eps_at(1) == 8 / 256


def test_one_step_slows_some_images_down_and_makes_the_others_wrong():
    network, clean = tiny.network(), to_tensor(tiny.frames(40))
    labels = network(clean)[-1].argmax(-1)
    attacked = OneStepLinf()(network, clean, labels, 20, torch.Generator().manual_seed(0))
    assert (attacked - clean).abs().max() <= 0.03125 + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    with torch.no_grad():
        confidence = [network(each)[:-1, :20].softmax(-1).max(-1).values.mean() for each in (clean, attacked)]
        losses = [label_loss(network(each)[:, 20:], labels[20:]).mean() for each in (clean, attacked)]
    assert confidence[1] < confidence[0]
    assert losses[1] > losses[0]


def test_an_attack_on_the_label_stays_in_its_ball_and_makes_answers_wrong():
    network, clean = tiny.network(), to_tensor(tiny.frames(30))
    labels = torch.arange(30) % 3
    attack = LabelLinf(batch=7)
    attacked = attack(network, clean, labels)
    assert (attacked - clean).abs().max() <= 0.03125 + 1e-6
    with torch.no_grad():
        assert (label_loss(network(attacked), labels) > label_loss(network(clean), labels)).all()
    assert torch.equal(attacked, attack(network, clean, labels))


def test_accuracies_are_those_of_the_last_exit(data):
    network = ending_at(tiny.network(), 3)
    with torch.no_grad():
        answers = network(to_tensor(data.calibration.pixels))[-1].argmax(-1).numpy()
    assert accuracies(network, data.calibration._replace(labels=answers))[0] == 1
    assert accuracies(network, data.calibration._replace(labels=(answers + 1) % 3))[0] == 0
