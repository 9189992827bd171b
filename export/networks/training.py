"""Joint training of all exits of an SDN (Kaya et al. 2019): every classifier's loss counts from the start, the
internal ones with a weight that ramps from 0.01 to the exit's relative cost."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, autocast, nn
from tqdm import tqdm

from device.errors import DataError
from export.calibration.card import known_classes
from export.calibration.cost import exit_accuracies, relative_costs, score
from export.data.classes import check_classes
from export.data.images import Dataset
from export.defences.quantiser import BlockQuantiser
from export.networks.bfloat16 import strided_depthwise_in_float32
from export.networks.checkpoint import TrainingRun, read_checkpoint, write_checkpoint
from export.networks.loading import build_network, fill, load_network, read_tensors
from export.networks.model_files import ModelFiles
from export.networks.model_folder import ModelDescription
from export.networks.pretrained import begin
from export.networks.sdn import SDN
from export.networks.spec import Recipe
from export.networks.weights import to_tensor

CROP_PADDING = 4
FIRST_WEIGHT = 0.01
QUANTISED_STEPS = (10, 60)
WARM_UP, TRAINED_WARM_UP = 0.3, 0.15
"""Share of the steps in which the rate rises: from random weights, and from trained ones."""


def train(
    description: ModelDescription,
    data: Dataset,
    recipe: Recipe,
    checkpoint: Path,
    start: ModelFiles | None = None,
    random: bool = False,
) -> SDN:
    """Train a network on the training split and return it in evaluation mode.

    After every epoch the whole state is written to ``checkpoint``; a run that finds a checkpoint of the same data and
    recipe continues from it. Each epoch prints one line with the accuracy on the calibration split, of the best exit and
    of the final classifier.

    Args:
        description: of the network that is trained.
        start: weights to begin from. They may have more exits than the network. Their exits are trained already, so that
            their losses count in full from the first step. None: weights that were trained on ImageNet, where they are installed
            (export/networks/pretrained.py), else random ones.
        random: begin from random weights even so.

    Raises:
        DataError: the checkpoint is of another run or cannot be read, or the weights to start from are of other classes.
        OutputError: the checkpoint cannot be written.
    """
    torch.manual_seed(recipe.seed)
    network = build_network(description, len(data.classes))
    if start:
        check_classes(load_network(start), data, known_classes(start))
        fill(network, read_tensors(start.weights, description.family), start.weights, description.family)
    check_classes(network, data)
    package = None if start or random else begin(network, description.family)
    begun = start.sha256 if start else package.sha256 if package else ""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    costs = torch.tensor(relative_costs(network))
    optimiser = torch.optim.SGD(
        _parameter_groups(network, recipe.weight_decay), lr=recipe.peak_rate, momentum=0.9, nesterov=True
    )
    recipe = replace(recipe, batch=min(recipe.batch, len(data.train.labels)))
    this_run = TrainingRun(description.told(), data.sha256(), data.source, begun, asdict(recipe))
    steps = len(data.train.labels) // recipe.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.peak_rate, total_steps=recipe.epochs * steps, pct_start=TRAINED_WARM_UP if start else WARM_UP
    )
    done = 0
    if checkpoint.exists():
        state = read_checkpoint(checkpoint, this_run)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        done = state["epoch"]
        print(f"goes on after epoch {done} of {recipe.epochs} from {checkpoint}", flush=True)
    strided_depthwise_in_float32(network)
    forward: Callable[[Tensor], Tensor] = torch.compile(network) if recipe.compile else network
    first_weights = costs if start else torch.full_like(costs, FIRST_WEIGHT)
    for epoch in range(done, recipe.epochs):
        network.train()
        loss = _epoch(forward, network, optimiser, schedule, data, recipe, (first_weights, costs), epoch, steps)
        network.eval()
        accuracies = exit_accuracies(score(network, data.calibration.pixels), data.calibration.labels)
        print(
            f"epoch {epoch + 1}/{recipe.epochs}  loss {loss:.3f}  calibration accuracy: final {accuracies[-1]:.3f}, best exit {max(accuracies):.3f}",
            flush=True,
        )
        parts = {
            "network": network.state_dict(),
            "optimiser": optimiser.state_dict(),
            "schedule": schedule.state_dict(),
        }
        write_checkpoint(checkpoint, this_run, epoch + 1, parts)
    network.eval()
    return network


def _epoch(
    forward: Callable[[Tensor], Tensor], network: SDN, optimiser: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler,
    data: Dataset, recipe: Recipe, exit_weights: tuple[Tensor, Tensor], epoch: int, steps: int,
) -> float:  # fmt: skip
    generator = torch.Generator().manual_seed(recipe.seed * 1000 + epoch)
    order = torch.randperm(len(data.train.labels), generator=generator).numpy()
    bfloat16 = "AVX512" in torch.backends.cpu.get_cpu_capability()  # other processors emulate it, 20 times slower
    total = 0.0
    bar = tqdm(range(steps), desc=f"epoch {epoch + 1}/{recipe.epochs}", mininterval=10)
    for step in bar:
        index = order[step * recipe.batch : (step + 1) * recipe.batch]
        images = augment(to_tensor(data.train.pixels[index]), generator)
        images = quantise_some(images, recipe.quantised, generator).contiguous(memory_format=torch.channels_last)
        labels = torch.from_numpy(data.train.labels[index])
        weights = torch.lerp(*exit_weights, (epoch * steps + step) / (recipe.epochs * steps))
        weights[-1] = 1.0
        with autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            logits = forward(images)
        losses = torch.stack([nn.functional.cross_entropy(each, labels) for each in logits])
        loss = (weights * losses).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
        optimiser.step()
        schedule.step()
        if not torch.isfinite(loss):
            raise DataError(
                f"the loss became {loss.item()} in epoch {epoch + 1}, step {step}; lower the peak learning rate"
            )
        total += loss.item()
        bar.set_postfix(loss=f"{total / (step + 1):.3f}", refresh=False)
    return total / steps


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flip each image at random and crop it at random after padding by 4 pixels. float32 (n, 3, h, w)."""
    n, _, height, width = images.shape
    flip = torch.rand(n, generator=generator) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    padded = nn.functional.pad(images, (CROP_PADDING,) * 4)
    top, left = (torch.randint(0, 2 * CROP_PADDING + 1, (n,), generator=generator) for _ in range(2))
    rows = (top[:, None] + torch.arange(height))[:, None, :, None]
    columns = (left[:, None] + torch.arange(width))[:, None, None, :]
    return padded[torch.arange(n)[:, None, None, None], torch.arange(3)[None, :, None, None], rows, columns]


def quantise_some(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Apply DefQ to the first ``share`` of a shuffled batch, with a flat table whose step is drawn from QUANTISED_STEPS.

    Args:
        images: float32 (n, 3, h, w) in [0, 1].
        share: 0 to 1.
    """
    count = round(share * len(images))
    low, high = QUANTISED_STEPS
    step = torch.randint(low, high + 1, (), generator=generator).item()
    if not count:
        return images
    return torch.cat([BlockQuantiser(np.full((8, 8), step))(images[:count]), images[count:]])


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Groups for the optimiser: weights of convolutions and linear layers with weight decay, all others without."""
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
