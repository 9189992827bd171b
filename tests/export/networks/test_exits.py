"""Networks that keep some of their internal classifiers."""

import numpy as np
import pytest
import torch
from safetensors import safe_open

from device.bundle.reader import load_bundle
from device.errors import DataError, UsageError
from export.bundle.settings import BundleSettings
from export.bundle.writer import write_bundle
from export.calibration.cost import relative_costs
from export.networks import mobilenet
from export.networks.bfloat16 import InBfloat16
from export.networks.exits import ending_at, file_names, tensors_of, with_exits
from export.networks.find import network_spec
from export.networks.loading import fill, load_network, planned, read_tensors
from export.networks.model_files import beside
from export.networks.model_folder import write_description
from export.networks.sdn import folded
from export.networks.weights import save_network, to_tensor
from tests import tiny

SOME = [(1, 2, 3, 4), (2, 4), (1,), (3,), (4,), (1, 3)]


@pytest.fixture(scope="module")
def network():
    return tiny.network()


@pytest.fixture(scope="module")
def images():
    return to_tensor(tiny.frames())


@pytest.mark.parametrize("kept", SOME)
def test_the_exits_that_stay_answer_as_before(network, images, kept):
    some = with_exits(network, kept)
    assert some.exit_numbers == kept
    assert len(some.blocks) == len(some.ics) == len(kept)
    rows = [*(each - 1 for each in kept), 4]
    with torch.no_grad():
        torch.testing.assert_close(some(images), network(images)[rows])
        torch.testing.assert_close(folded(some)(images), network(images)[rows], atol=1e-5, rtol=1e-4)
    assert not some.training


@pytest.mark.parametrize("kept", SOME)
def test_names_in_files_are_those_of_the_whole_network(network, kept):
    whole, some = network.state_dict(), tensors_of(with_exits(network, kept))
    assert set(some) <= set(whole)
    assert all(torch.equal(whole[name], tensor) for name, tensor in some.items())
    left = {name for name in whole if not name.startswith("ics.") or int(name.split(".")[1]) + 1 in kept}
    assert set(some) == left


def test_exits_can_be_left_out_in_two_steps(network, images):
    once, twice = with_exits(network, (2, 3)), with_exits(with_exits(network, (1, 2, 3)), (2, 3))
    assert list(tensors_of(once)) == list(tensors_of(twice))
    with torch.no_grad():
        assert torch.equal(once(images), twice(images))


def test_costs_are_relative_to_the_network_that_is_left(network):
    some = relative_costs(with_exits(network, (2, 3)))
    assert len(some) == 3
    assert some == sorted(some)
    assert some[-1] == 1


@pytest.mark.parametrize("kept", [(), (0,), (5,), (2, 2)])
def test_exits_that_the_network_has_not_are_one_sentence(network, kept):
    with pytest.raises(UsageError, match="^found exits .*; expected one or more of 1, 2, 3, 4, the blocks"):
        with_exits(network, kept)


def test_a_bundle_of_some_exits(network, tmp_path, capsys):
    some = with_exits(network, (2, 4))
    folder = write_bundle("tiny", some, tiny.card(some), tiny.TABLE, tmp_path / "b", BundleSettings(1), tiny.frames())
    assert capsys.readouterr().out.count("agree with PyTorch on 100.0%") == 2
    bundle = load_bundle(str(folder))
    assert len(bundle.relative_costs) == 3
    assert bundle.activation_shape == (6, 8, 8)


def test_it_can_be_shortened_and_computed_in_bfloat16(network, images):
    some = with_exits(network, (1, 3, 4))
    with torch.no_grad():
        assert torch.equal(ending_at(some, 2)(images), some(images)[:2])
        assert InBfloat16(with_exits(tiny.network(), (1, 3))).exit_numbers == (1, 3)


@pytest.mark.parametrize("model", ["vgg16", "resnet56", "mobilenet", "efficientnet_lite0"])
def test_every_network_can_leave_exits_out(model):
    whole = network_spec(model).network(3)
    every = whole.exit_numbers
    assert file_names(whole) == {name: name for name in whole.state_dict()}
    some = with_exits(whole, every[1::3])
    assert set(file_names(some).values()) < set(whole.state_dict())


@pytest.fixture
def folder(network, tmp_path, monkeypatch):
    """A model folder of the tiny network with exits 2 and 4, under the name of a real network."""
    monkeypatch.setattr(mobilenet, "SPEC", tiny.SPEC)
    files = beside("mobilenet", tmp_path / "m" / "weights.safetensors")
    some = with_exits(network, (2, 4))
    save_network(some, files.weights, classes=tiny.CLASSES)
    write_description(planned("mobilenet", None, "stretch", (2, 4)), files.described_in)
    return files


def test_a_file_holds_what_is_kept_and_is_read_with_and_without_a_description(folder, network, images):
    with safe_open(folder.weights, "pt") as opened:
        assert {name.split(".")[1] for name in opened.keys() if name.startswith("ics.")} == {"1", "3"}  # noqa: SIM118
    with torch.no_grad():
        expected = network(images)[[1, 3, 4]]
        torch.testing.assert_close(load_network(folder)(images), expected, atol=5e-3, rtol=5e-2)
        folder.described_in.unlink()
        alone = beside("mobilenet", folder.weights)
        assert alone.description.exits == (2, 4)
        torch.testing.assert_close(load_network(alone)(images), expected, atol=5e-3, rtol=5e-2)


def test_a_description_with_fewer_exits_than_the_file_leaves_them_out_and_more_are_refused(folder):
    write_description(planned("mobilenet", None, "stretch", (2,)), folder.described_in)
    assert load_network(beside("mobilenet", folder.weights)).exit_numbers == (2,)
    write_description(planned("mobilenet", None, "stretch", (1, 2)), folder.described_in)
    with pytest.raises(
        DataError, match=r"another network in .*\(missing: ics.0.alpha, ics.0.fc.weight, ics.0.fc.bias\)"
    ):
        load_network(beside("mobilenet", folder.weights))


def test_weights_of_the_whole_network_fill_one_with_some_exits(network, images, tmp_path):
    save_network(network, tmp_path / "w.safetensors")
    some = with_exits(tiny.network(), (1, 4))
    for parameter in some.parameters():
        parameter.data.zero_()
    fill(some, read_tensors(tmp_path / "w.safetensors", "tiny"), tmp_path / "w.safetensors", "tiny")
    with torch.no_grad():
        torch.testing.assert_close(some(images), network(images)[[0, 3, 4]], atol=5e-3, rtol=5e-2)


def test_the_description_says_which_are_kept(folder, tmp_path):
    assert folder.description.exits == (2, 4)
    assert folder.description.told() == "mobilenet for 16 x 16 pixels with exits 2, 4"
    assert np.shape(load_network(folder)(torch.zeros(1, 3, 16, 16)).detach()) == (3, 1, 3)
