"""Every form of DeepSloth: its bound, its effect, its repeatability, and the cache of attacked images."""

import numpy as np
import pytest
import torch

from device.errors import OutputError, UsageError
from export.attacks import crafting
from export.attacks.adaptive import Defended
from export.attacks.base import slowdown_gradient, uniformity_loss, unit_noise
from export.attacks.crafting import craft
from export.attacks.l1 import DeepSlothL1
from export.attacks.l2 import DeepSlothL2
from export.attacks.linf import DeepSlothLinf, GreyLinf
from export.attacks.universal import ClassUniversalLinf, UniversalLinf
from export.defences import BlockQuantiser
from export.networks.bfloat16 import InBfloat16
from export.networks.sdn import folded
from export.networks.weights import to_tensor
from tests import tiny

QUICK = {
    "linf": DeepSlothLinf(),
    "l2": DeepSlothL2(iterations=60, period=10),
    "l1": DeepSlothL1(iterations=60),
    "grey": GreyLinf(),
}


def images(count=20):
    return to_tensor(tiny.frames(count))


def mean_confidence(network, batch):
    with torch.no_grad():
        return network.exits(batch, 4).softmax(-1).max(-1).values.mean().item()


def test_loss_is_lowest_for_uniform_answers():
    uniform, sure = torch.zeros(2, 1, 10), torch.eye(10)[:1].mul(20).expand(2, 1, 10)
    assert uniformity_loss(uniform).item() < uniformity_loss(sure).item()
    assert torch.isclose(uniformity_loss(uniform), 2 * torch.log(torch.tensor(10.0))).all()


@pytest.mark.parametrize("name", QUICK)
def test_per_sample_attacks_lower_confidence_repeatably_in_the_range_of_pixels(name):
    network, clean, attack = tiny.network(), images(), QUICK[name]
    attacked = attack(network, clean, progress=False)
    assert attacked.shape == clean.shape
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert mean_confidence(network, attacked) < mean_confidence(network, clean) - 0.03
    assert torch.equal(attacked, attack(network, clean, progress=False))
    assert not torch.equal(attacked, attack(network, clean, seed=1, progress=False))


def test_each_norm_stays_within_its_bound():
    network, clean = tiny.network(), images()
    change = {name: (attack(network, clean, progress=False) - clean).flatten(1) for name, attack in QUICK.items()}
    assert change["linf"].abs().max() <= 0.03125 + 1e-6
    assert change["l2"].norm(dim=1).max() <= 0.9**5 + 1e-5
    assert change["l1"].abs().sum(1).max() <= 8 + 1e-3
    assert change["grey"].abs().max() <= 0.03125 + 1e-6
    planes = change["grey"].reshape(20, 3, -1)
    inside = (clean.flatten(2) > 0.04).all(1) & (clean.flatten(2) < 0.96).all(1)
    assert torch.allclose(planes[:, 0][inside], planes[:, 1][inside], atol=1e-6)


def test_the_last_radius_of_l2_is_that_of_the_authors():
    attack = DeepSlothL2()
    assert attack.norm * (1 - attack.shrink) ** ((attack.iterations - 1) // attack.period) == pytest.approx(
        0.3487, abs=1e-4
    )


def test_a_step_of_l1_moves_one_percent_of_the_entries():
    network, clean = tiny.network(), torch.full((1, 3, 16, 16), 0.5)
    start = DeepSlothL1(iterations=0)(network, clean, progress=False)
    moved = DeepSlothL1(iterations=1, eps=1e6)
    before = moved.perturb(lambda at: torch.zeros_like(at), clean, torch.Generator().manual_seed(0))
    assert (start - clean).abs().sum() == pytest.approx(8, rel=0.05)
    assert before.shape == clean.shape
    gradient = torch.arange(768.0).reshape(1, 3, 16, 16)
    one = DeepSlothL1(iterations=1, eps=8.0)
    noiseless = one.perturb(lambda at: gradient, clean, torch.Generator().manual_seed(0))
    changed = ((noiseless - start).abs() > 0.05).sum()
    assert changed <= 8  # round(0.01 x 768) entries, each by 0.5 / 8


@pytest.mark.parametrize("norm", [1, 2])
def test_noise_has_its_norm(norm):
    noise = unit_noise(torch.zeros(5, 3, 8, 8), norm, torch.Generator().manual_seed(0))
    assert torch.allclose(noise.flatten(1).norm(norm, dim=1), torch.ones(5), atol=1e-5)


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


def test_class_universal_learns_one_for_each_class_that_has_images():
    network, clean = tiny.network(), images()
    labels = torch.tensor([0, 2] * 10)
    deltas = ClassUniversalLinf(epochs=2).per_class(network, clean, labels, 3, progress=False)
    assert deltas.shape == (3, 3, 16, 16)
    assert deltas[1].abs().max() == 0
    assert not torch.equal(deltas[0], deltas[2])


def test_an_adaptive_attack_does_more_behind_the_defence_than_a_blind_one():
    network, clean = tiny.network(), images()
    defence = BlockQuantiser(np.full((8, 8), 40.0))
    blind = DeepSlothLinf()(network, clean, progress=False)
    knowing = DeepSlothLinf()(Defended(network, defence), clean, progress=False)
    assert mean_confidence(network, defence(knowing)) < mean_confidence(network, defence(blind)) - 0.02


def test_draws_average_the_gradient_of_a_random_defence():
    network, clean = tiny.network(), images(4)
    torch.manual_seed(0)
    target = Defended(network, BlockQuantiser(np.full((8, 8), 40.0), moving_grid=True, spread=0.5), draws=3)
    assert target.exits(clean, 4).shape == (4, 12, 3)
    assert slowdown_gradient(target, clean).shape == clean.shape


def test_folding_batch_norm_changes_no_answer():
    network, clean = tiny.network(), images()
    with torch.no_grad():
        assert torch.allclose(folded(network)(clean), network(clean), atol=1e-5)


def test_crafting_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    network, clean, calls = tiny.network(), images(), []
    attack = DeepSlothLinf(iterations=2, batch=5)
    original = DeepSlothLinf.perturb

    def counted(self, gradient, batch, generator):
        calls.append(len(batch))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, gradient, batch, generator)

    monkeypatch.setattr(DeepSlothLinf, "perturb", counted)
    with pytest.raises(KeyboardInterrupt):
        craft(attack, network, "tiny", clean, tmp_path)
    attacked = craft(attack, network, "tiny", clean, tmp_path)
    assert calls == [5, 5, 5, 5, 5]  # two kept, one lost, two more
    assert torch.equal(attacked, craft(attack, network, "tiny", clean, tmp_path))
    assert len(calls) == 5
    craft(attack, network, "other weights", clean[:5], tmp_path)
    craft(DeepSlothLinf(iterations=3, batch=5), network, "tiny", clean[:5], tmp_path)
    assert len(calls) == 7


def test_a_damaged_file_of_the_cache_is_made_again(tmp_path):
    network, clean = tiny.network(), images(5)
    attack = DeepSlothLinf(iterations=2, batch=5)
    attacked = craft(attack, network, "tiny", clean, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(attacked, craft(attack, network, "tiny", clean, tmp_path))
    file.write_bytes(b"")
    assert torch.equal(attacked, craft(attack, network, "tiny", clean, tmp_path))


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"could not keep attacked images in .*DEFQ_ATTACKS"):
        craft(DeepSlothLinf(iterations=1), tiny.network(), "tiny", images(2), tmp_path / "file")


def test_the_cache_is_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.setenv("DEFQ_ATTACKS", str(tmp_path))
    assert crafting.attack_cache() == tmp_path


def test_bfloat16_gradients_point_where_float32_ones_do():
    network, clean = folded(tiny.network()), images()
    exact = slowdown_gradient(network, clean)
    rough = slowdown_gradient(InBfloat16(folded(tiny.network())), clean)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert torch.nn.functional.cosine_similarity(rough.flatten(1), exact.flatten(1)).median() > 0.98


def test_only_the_network_computes_in_bfloat16_not_the_defence(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFQ_GRADIENTS", "bfloat16")
    seen = []

    def defence(batch, generator):
        seen.append((batch @ batch).dtype)  # an operation that autocast would turn
        return batch

    craft(DeepSlothLinf(iterations=1), Defended(tiny.network(), defence), "tiny", images(2), tmp_path)
    assert set(seen) == {torch.float32}


def test_the_cache_keeps_images_of_both_kinds_of_gradients_apart(tmp_path, monkeypatch):
    attack, network, clean = DeepSlothLinf(iterations=5), tiny.network(), images(5)
    exact = craft(attack, network, "tiny", clean, tmp_path)
    monkeypatch.setenv("DEFQ_GRADIENTS", "bfloat16")
    rough = craft(attack, network, "tiny", clean, tmp_path)
    assert not torch.equal(rough, exact)
    assert torch.equal(rough, craft(attack, network, "tiny", clean, tmp_path))
    monkeypatch.setenv("DEFQ_GRADIENTS", "float32")
    assert torch.equal(exact, craft(attack, network, "tiny", clean, tmp_path))
    assert mean_confidence(network, rough) == pytest.approx(mean_confidence(network, exact), abs=0.02)


def test_another_type_of_gradients_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFQ_GRADIENTS", "float8")
    with pytest.raises(UsageError, match="found DEFQ_GRADIENTS=float8; expected float32 or bfloat16"):
        craft(DeepSlothLinf(iterations=1), tiny.network(), "tiny", images(2), tmp_path)
