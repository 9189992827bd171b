"""The loss of training: the weights of the exits, and what they learn from the final classifier."""

import pytest
import torch
from torch.nn import functional

from export.networks.objective import Objective
from export.networks.spec import Recipe

COSTS = torch.tensor([0.2, 0.6, 1.0])
LOGITS = torch.randn(3, 8, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 4
LOSSES = [functional.cross_entropy(each, LABELS).item() for each in LOGITS]


def expected(*weights):
    return pytest.approx(sum(weight * loss for weight, loss in zip(weights, LOSSES, strict=True)), rel=1e-5)


def loss(recipe, done, trained=False, logits=LOGITS):
    return Objective(COSTS, recipe, trained).loss(logits, LABELS, done).item()


def test_the_weights_of_the_sdn_paper_rise_to_the_costs():
    assert loss(Recipe(), 0) == expected(0.01, 0.01, 1)
    assert loss(Recipe(), 0.5) == expected(0.105, 0.305, 1)
    assert loss(Recipe(), 1) == expected(0.2, 0.6, 1)
    assert loss(Recipe(), 0, trained=True) == expected(0.2, 0.6, 1)


def test_constant_weights():
    for done in (0, 1):
        assert loss(Recipe(exit_weight=0.3), done) == expected(0.3, 0.3, 1)


def test_internal_classifiers_learn_from_the_final_one_which_does_not_learn_from_them():
    plain, taught = Recipe(exit_weight=0.5), Recipe(exit_weight=0.5, distilled=2)
    assert loss(taught, 0) > loss(plain, 0)
    alike = LOGITS[-1:].expand(3, -1, -1)
    assert loss(taught, 0, logits=alike) == pytest.approx(loss(plain, 0, logits=alike))
    logits = LOGITS.clone().requires_grad_()
    gradients = [
        torch.autograd.grad(Objective(COSTS, each, False).loss(logits, LABELS, 0), logits)[0]
        for each in (plain, taught)
    ]
    assert torch.equal(gradients[0][-1], gradients[1][-1])
    assert not torch.allclose(gradients[0][0], gradients[1][0])
