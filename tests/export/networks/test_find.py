"""The networks that the export finds by itself."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import export.networks
from device.errors import UsageError
from export.networks.find import network_names, network_spec

MODULES = sorted(file.stem for file in Path(export.networks.__file__).parent.glob("*.py") if file.stem != "__init__")


def test_every_module_with_a_spec_is_a_network_and_no_other():
    having = [name for name in MODULES if hasattr(importlib.import_module(f"export.networks.{name}"), "SPEC")]
    assert having == list(network_names())
    assert {"vgg16", "resnet56", "mobilenet"} <= set(network_names())


def test_names_need_no_pytorch():
    program = "import sys; from export.networks.find import network_names; assert network_names(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "torch" not in done.stdout.split()


@pytest.mark.parametrize("name", network_names())
def test_a_spec_says_of_its_network_what_is_so(name):
    spec = network_spec(name)
    assert spec.name == name
    network = spec.network(7).eval()
    assert network.input_shape[1:] == spec.input_size
    with torch.no_grad():
        logits = network(torch.zeros(2, *network.input_shape))
    assert logits.shape == (spec.exits, 2, 7)
    assert spec.recipe.epochs > 0


@pytest.mark.parametrize("name", ["vgg16", "resnet56", "mobilenet"])
def test_the_papers_networks_can_be_built_for_larger_squares(name):
    network = network_spec(name).build(3, (64, 64)).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 64, 64)).shape[1:] == (1, 3)
    for size in ((64, 32), (33, 33), (0, 0)):
        with pytest.raises(UsageError, match=f"found images of {size[1]} x {size[0]} pixels; expected square ones"):
            network_spec(name).build(3, size)


def test_an_unknown_network_is_one_sentence():
    with pytest.raises(UsageError, match="found the network alexnet; expected one of .*mobilenet"):
        network_spec("alexnet")
