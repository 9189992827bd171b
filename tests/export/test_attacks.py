import torch

from export.attacks import DeepSlothLinf, UniversalLinf
from export.attacks.base import uniformity_loss
from export.weights import to_tensor
from tests import tiny


def images():
    return to_tensor(tiny.frames(20))


def mean_confidence(network, batch):
    with torch.no_grad():
        return network.exits(batch, 4).softmax(-1).max(-1).values.mean().item()


def test_loss_is_lowest_for_uniform_answers():
    uniform, sure = torch.zeros(2, 1, 10), torch.eye(10)[:1].mul(20).expand(2, 1, 10)
    assert uniformity_loss(uniform).item() < uniformity_loss(sure).item()
    assert torch.isclose(uniformity_loss(uniform), 2 * torch.log(torch.tensor(10.0))).all()


def test_linf_lowers_confidence_within_its_bound_and_repeatably():
    network, clean = tiny.network(), images()
    attacked = DeepSlothLinf()(network, clean, progress=False)
    assert (attacked - clean).abs().max() <= 0.03125 + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert mean_confidence(network, attacked) < mean_confidence(network, clean) - 0.05
    assert torch.equal(attacked, DeepSlothLinf()(network, clean, progress=False))
    assert not torch.equal(attacked, DeepSlothLinf()(network, clean, seed=1, progress=False))


def test_more_iterations_do_more():
    network, clean = tiny.network(), images()
    few, many = (DeepSlothLinf(iterations=count)(network, clean, progress=False) for count in (2, 30))
    assert mean_confidence(network, many) < mean_confidence(network, few)


def test_universal_is_one_perturbation_for_all():
    network, clean = tiny.network(), images()
    delta = UniversalLinf(epochs=20)(network, clean, progress=False)
    assert delta.shape == (1, 3, 16, 16)
    assert delta.abs().max() <= 0.03125 + 1e-6
    assert mean_confidence(network, (clean + delta).clamp(0, 1)) < mean_confidence(network, clean)
