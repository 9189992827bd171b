"""Checkpoints of the public code bases against their forward passes, written here anew from the names alone."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from device.errors import DataError
from export.calibration.cost import relative_costs
from export.networks.find import network_spec
from export.networks.loading import load_network
from export.networks.model_files import beside
from export.networks.sdn import folded
from export.networks.upstream import is_upstream, load_upstream
from export.onnx import graphs, parts
from export.onnx.parity import check_exits

WIDTHS = {
    "vgg16": [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6,
    "resnet56": [16] * 9 + [32] * 9 + [64] * 9,
    "mobilenet": [64, 128, 128, 256, 256] + [512] * 6 + [1024] * 2,
}
HALVED = {"vgg16": (1, 3, 6, 9, 12), "resnet56": (9, 18), "mobilenet": (1, 3, 5, 11)}
# where the first code base has classifiers; DeepSloth has them everywhere
SOME = {"vgg16": (1, 3, 5, 6, 8, 9), "resnet56": (3, 7, 11, 15, 19, 23), "mobilenet": (2, 4, 6, 8, 11)}
EVERY = {"vgg16": tuple(range(14)), "resnet56": tuple(range(27)), "mobilenet": tuple(range(13))}


def checkpoint(model, placed, classes=10, seed=0):
    """Random tensors under the names that their state_dict() gives."""
    generator = torch.Generator().manual_seed(seed)
    state = {}

    def layer(name, *shape, bias=True):
        state[name + ".weight"] = torch.randn(shape, generator=generator) * (2 / np.prod(shape[1:])) ** 0.5
        if bias:
            state[name + ".bias"] = torch.randn(shape[0], generator=generator) * 0.1

    def norm(name, channels):
        for part, low in (("weight", 0.5), ("bias", -0.5), ("running_mean", -0.5), ("running_var", 0.5)):
            state[f"{name}.{part}"] = torch.rand(channels, generator=generator) + low
        state[name + ".num_batches_tracked"] = torch.tensor(7)

    def classifier(name, channels, size):
        pooled = size
        if size >= 4:
            state[name + ".alpha"] = torch.rand(1, generator=generator)
            pooled = 4
        layer(name + ".linear", classes, channels * pooled**2)

    inputs, size = 3, 32
    if model != "vgg16":
        inputs = 16 if model == "resnet56" else 32
        layer("init_conv.0", inputs, 3, 3, 3, bias=False)
        norm("init_conv.1", inputs)
    for index, width in enumerate(WIDTHS[model]):
        name = f"layers.{index}.layers"
        size //= 2 if index in HALVED[model] else 1
        if model == "vgg16":
            layer(name + ".0", width, inputs, 3, 3)
            norm(name + ".1", width)
        elif model == "mobilenet":
            layer(name + ".0", inputs, 1, 3, 3, bias=False)
            norm(name + ".1", inputs)
            layer(name + ".3", width, inputs, 1, 1, bias=False)
            norm(name + ".4", width)
        else:
            layer(name + ".0.0", width, inputs, 3, 3, bias=False)
            norm(name + ".0.1", width)
            layer(name + ".0.3", width, width, 3, 3, bias=False)
            norm(name + ".0.4", width)
            if inputs != width:
                layer(name + ".1.0", width, inputs, 1, 1, bias=False)
                norm(name + ".1.1", width)
        if index in placed:
            classifier(f"layers.{index}.output", width, size)
        inputs = width
    if model == "vgg16":
        layer("layers.13.layers.1", 512, 512)
        if 13 in placed:
            layer("layers.13.output", classes, 512)
        layer("end_layers.0", 512, 512)
    layer("end_layers.2", classes, inputs)
    return state


def their_logits(model, state, images):
    """Logits of every exit as their networks compute them, (exits, batch, classes)."""

    def linear(name, x):
        return F.linear(x, state[name + ".weight"], state[name + ".bias"])

    def conv_norm(conv, norm, x, stride=1, groups=1):
        kernel = state[conv + ".weight"]
        x = F.conv2d(x, kernel, state.get(conv + ".bias"), stride, kernel.shape[-1] // 2, groups=groups)
        statistics = [state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *statistics)

    def classifier(name, x):
        if name + ".alpha" in state:
            kernel, alpha = x.shape[-1] // 4, state[name + ".alpha"]
            x = alpha * F.max_pool2d(x, kernel) + (1 - alpha) * F.avg_pool2d(x, kernel)
        return linear(name + ".linear", x.flatten(1))

    x, logits = images, []
    if model != "vgg16":
        x = F.relu(conv_norm("init_conv.0", "init_conv.1", x))
    for index in range(len(WIDTHS[model])):
        name = f"layers.{index}.layers"
        stride = 2 if index in HALVED[model] else 1
        if model == "vgg16":
            x = F.relu(conv_norm(name + ".0", name + ".1", x))
            x = F.max_pool2d(x, 2) if stride == 2 else x
        elif model == "mobilenet":
            x = F.relu(conv_norm(name + ".0", name + ".1", x, stride, groups=x.shape[1]))
            x = F.relu(conv_norm(name + ".3", name + ".4", x))
        else:
            inner = F.relu(conv_norm(name + ".0.0", name + ".0.1", x, stride))
            inner = conv_norm(name + ".0.3", name + ".0.4", inner)
            x = conv_norm(name + ".1.0", name + ".1.1", x, stride) if name + ".1.0.weight" in state else x
            x = F.relu(inner + x)
        if f"layers.{index}.output.linear.weight" in state:
            logits.append(classifier(f"layers.{index}.output", x))
    if model == "vgg16":
        x = F.relu(linear("layers.13.layers.1", x.flatten(1)))
        if "layers.13.output.weight" in state:
            logits.append(linear("layers.13.output", x))
        x = linear("end_layers.0", x)
    else:
        x = F.avg_pool2d(x, 8 if model == "resnet56" else 2).flatten(1)
    return torch.stack([*logits, linear("end_layers.2", x)])


def normal(images, mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225)):
    return (images - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(deviation).reshape(3, 1, 1)


@pytest.fixture(autouse=True)
def one_thread():
    """Small convolutions on busy cores take a hundred times longer with more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def save(tmp_path):
    def go(content, **options):
        torch.save(content, tmp_path / "last", **options)
        return tmp_path / "last"

    return go


@pytest.fixture
def images():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def same(network, expected, images):
    assert not network.training
    assert all(each.dtype == torch.float32 for each in network.parameters())
    found = network(images)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * max(1, float(expected.abs().max()))
    return True


@pytest.mark.parametrize("model", sorted(EVERY))
def test_a_classifier_after_every_block(model, save, images):
    state = checkpoint(model, EVERY[model])
    network = load_upstream(model, save(state))
    assert same(network, their_logits(model, state, images), images)
    assert len(network.ics) == len(EVERY[model])
    # nothing is lost or added: the same parameters as a network of ours
    own = network_spec(model).network(10)
    assert [each.shape for each in network.parameters()] == [each.shape for each in own.parameters()]


@pytest.mark.parametrize("model", sorted(EVERY))
def test_classifiers_after_some_blocks(model, save, images):
    state = checkpoint(model, SOME[model], classes=7)
    wrapped = {"state_dict": {"module." + name: tensor for name, tensor in state.items()}, "epoch": 3}
    network = load_upstream(model, save(wrapped, _use_new_zipfile_serialization=False))
    assert same(network, their_logits(model, state, normal(images)), images)
    assert len(network.blocks) == len(network.ics) == len(SOME[model])
    assert same(folded(network), their_logits(model, state, normal(images)), images)
    costs = relative_costs(network)
    assert costs == sorted(costs)
    if model != "mobilenet":  # which has five; the others have them near 15, 30, ... 90 % of the cost
        assert np.abs(np.array(costs[:-1]) - np.arange(15, 91, 15) / 100).max() < 0.05


def test_its_description_names_the_exits_of_the_checkpoint(save):
    files = beside("vgg16", save(checkpoint("vgg16", SOME["vgg16"])))
    assert files.description.exits == tuple(index + 1 for index in SOME["vgg16"])
    assert load_network(files).exit_numbers == files.description.exits


def test_normalised_or_not_is_the_caller_s_word(save, images):
    every, some = checkpoint("resnet56", EVERY["resnet56"]), checkpoint("resnet56", (0, 26), classes=100)
    file = save(every)
    assert same(load_upstream("resnet56", file, True), their_logits("resnet56", every, normal(images)), images)
    file = save({"model": some})
    assert same(load_upstream("resnet56", file, False), their_logits("resnet56", some, images), images)
    of_100 = normal(images, (0.507, 0.487, 0.441), (0.267, 0.256, 0.276))
    assert same(load_upstream("resnet56", file), their_logits("resnet56", some, of_100), images)


def test_half_precision_becomes_single(save, images):
    state = checkpoint("resnet56", (5,))
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    singles = {name: tensor.float() for name, tensor in halves.items()}
    network = load_upstream("resnet56", save(halves), False)
    assert same(network, their_logits("resnet56", singles, images), images)


def test_graphs_of_an_import_agree_with_it(save, images):
    network = load_upstream("resnet56", save(checkpoint("resnet56", SOME["resnet56"])))
    exported = parts.export_blocks(network)
    models = {
        "head": graphs.nested_head(exported, 2, network.input_shape, 0.5),
        "head_flat": graphs.flat_head(exported, 2, network.input_shape),
        "tail": graphs.tail(exported, 2),
    }
    frames = (images.permute(0, 2, 3, 1) * 255).byte().numpy()
    check_exits(network, models, 2, 0.5, frames, "random frames")


def test_checkpoints_of_the_public_code_are_recognised():
    state = checkpoint("resnet56", ())
    assert is_upstream(state)
    assert is_upstream({"module." + name: tensor for name, tensor in state.items()})
    assert not is_upstream(network_spec("resnet56").network(10).state_dict())
    assert not is_upstream({})


def refused(file, *words, model="resnet56"):
    with pytest.raises(DataError) as error:
        load_upstream(model, file)
    text = str(error.value)
    assert "\n" not in text
    assert str(file) in text
    assert "; expected " in text
    for word in words:
        assert word in text


def test_a_pickle_of_more_than_tensors_is_refused(save):
    refused(save(nn.Sequential(nn.Linear(2, 2))), "other than tensors", "save the state dict alone")


def test_keys_of_another_network_are_refused(save):
    state = checkpoint("resnet56", SOME["resnet56"])
    lacking = {name: tensor for name, tensor in state.items() if name != "layers.3.output.linear.bias"}
    refused(save(lacking), "1 missing (layers.3.output.linear.bias)")
    refused(save(dict(state, **{"layers.27.layers.0.0.weight": torch.zeros(1)})), "1 unexpected (layers.27.")
    refused(save(dict(state, **{"end_layers.2.bias": torch.zeros(3)})), "1 of another shape (end_layers.2.bias)")
    refused(save(state), "--model", model="mobilenet")
    refused(save(state), "--model", model="vgg16")
    refused(save(checkpoint("resnet56", ())), "without internal classifiers", "plain CNN")
    pruned = {name: tensor for name, tensor in state.items() if not name.startswith("end_layers.")}
    refused(save(dict(pruned, **{"end_layers.alpha": torch.zeros(1)})), "missing (end_layers.2.weight)")


@pytest.mark.parametrize(
    "content", [{}, {"a": 1}, {"state_dict": {"a": torch.zeros(1)}}, [1], {"layers.0.layers.0": 1, "end_layers.0": 2}]
)
def test_foreign_contents_are_refused(save, content):
    refused(save(content), "torch.save(model.state_dict(), FILE)")


def test_broken_files_are_refused(save, tmp_path):
    whole = save({"layers.0.layers.0.weight": torch.zeros(5000), "end_layers.0.weight": torch.zeros(1)}).read_bytes()
    file = tmp_path / "broken"
    generator = np.random.default_rng(0)
    for content in [b"", b"text", whole[:300], whole[:-300], *(generator.bytes(2000) for _ in range(20))]:
        file.write_bytes(content)
        refused(file)
    refused(tmp_path / "absent", "No such file")
    refused(tmp_path)
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 62755154\n")
    refused(file, "Git LFS pointer", "git lfs pull")
