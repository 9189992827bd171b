"""Joint training of all exits of an SDN (Kaya et al. 2019), or of the internal classifiers alone."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, autocast, nn
from tqdm import tqdm

from device.errors import DataError
from device.system.console import duration
from export.calibration.card import known_classes
from export.calibration.cost import exit_accuracies, relative_costs, score
from export.data.backgrounds import Backgrounds
from export.data.classes import check_classes
from export.data.images import Dataset, Images
from export.networks.augmentation import photographs, quantise_some, shifts
from export.networks.best import BestWeights
from export.networks.bfloat16 import slow_depthwise_in_float32
from export.networks.checkpoint import TrainingRun, read_checkpoint, write_checkpoint
from export.networks.loading import build_network, fill, load_network, read_tensors
from export.networks.model_files import ModelFiles
from export.networks.model_folder import ModelDescription
from export.networks.objective import Objective
from export.networks.pasting import Pasting
from export.networks.pretrained import begin
from export.networks.sdn import SDN
from export.networks.spec import Recipe

WARM_UP, TRAINED_WARM_UP = 0.3, 0.15
"""Share of the steps in which the rate rises: from random weights, and from trained ones."""
EVALUATIONS = 20
"""Epochs after which the calibration images are scored, at most; on few photographs this takes a fifth as long as an epoch."""
COMPILED_STEPS = 500
"""Steps ahead for which torch.compile pays; it takes as long as about so many steps save."""


def train(
    description: ModelDescription,
    data: Dataset,
    recipe: Recipe,
    checkpoint: Path,
    start: ModelFiles | None = None,
    random: bool = False,
    backgrounds: Backgrounds | None = None,
    seen: Images | None = None,
) -> SDN:
    """Train a network on the training split and return it in evaluation mode.

    After every epoch the whole state is written to ``checkpoint``; a run that finds a checkpoint of the same data and
    recipe continues from it. It prints lines with the accuracy on the calibration split, of the best exit and of the final
    classifier.

    Args:
        description: of the network that is trained.
        start: weights to begin from. They may have more exits than the network. Their exits are trained already, so that
            their losses count in full from the first step. None: weights that were trained on ImageNet, where they are installed
            (export/networks/pretrained.py), else random ones.
        random: begin from random weights even so.
        backgrounds: those that a share of the photographs is put in front of.
        seen: images that the network is scored on after an epoch. None: those to calibrate.

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
    recipe = replace(recipe, batch=min(recipe.batch, len(data.train.labels)))
    behind = {"backgrounds": backgrounds.sha256()[:12]} if backgrounds else {}
    run = TrainingRun(description.told(), data.sha256(), data.source, begun, asdict(recipe) | behind)
    seen = seen or data.calibration
    training = _Training(network, data.train, recipe, trained=start is not None, backgrounds=backgrounds)
    done = 0
    if checkpoint.exists():
        state = read_checkpoint(checkpoint, run)
        training.restore(state)
        done = state["epoch"]
        print(f"goes on after epoch {done} of {recipe.epochs} from {checkpoint}", flush=True)
    training.prepare(recipe.epochs - done)
    every = math.ceil(recipe.epochs / EVALUATIONS)
    began_s, begun_at = time.monotonic(), done
    for epoch in range(done, recipe.epochs):
        if training.best.waited >= recipe.patience > 0:
            print(f"stops after epoch {epoch}: no better since epoch {training.best.epoch}", flush=True)
            break
        loss = training.epoch(epoch)
        if (epoch + 1) % every == 0 or epoch + 1 == recipe.epochs or not recipe.photographs:
            accuracies = exit_accuracies(score(network, seen.pixels), seen.labels)
            left_s = (time.monotonic() - began_s) / (epoch + 1 - begun_at) * (recipe.epochs - epoch - 1)
            print(
                f"epoch {epoch + 1}/{recipe.epochs}  loss {loss:.3f}  calibration accuracy: final {accuracies[-1]:.3f}, best exit {max(accuracies):.3f}"
                + (f"; at most about {duration(left_s)} left" if epoch + 1 < recipe.epochs else ""),
                flush=True,
            )
            if recipe.patience:
                training.best.see(epoch + 1, sum(accuracies) / len(accuracies), network)  # in the mean of all exits
        write_checkpoint(checkpoint, run, epoch + 1, training.state())
    if recipe.patience:
        training.best.restore(network)
    return network.eval()


class _Training:
    """A network with its optimiser.

    Args:
        network: its parameters are changed.
        images: to train on.
        trained: whether the network, its classifiers too, is trained already.
        backgrounds: those that a share of the photographs is put in front of.
    """

    def __init__(
        self, network: SDN, images: Images, recipe: Recipe, trained: bool, backgrounds: Backgrounds | None = None
    ) -> None:
        self.network, self.images, self.recipe = network, images, recipe
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if recipe.frozen:
            freeze(network, final=trained)
        self.objective = Objective(torch.tensor(relative_costs(network)), recipe, trained)
        self.optimiser = torch.optim.SGD(
            parameter_groups(network, recipe.weight_decay), lr=recipe.peak_rate, momentum=0.9, nesterov=True
        )
        self.steps = len(images.labels) // recipe.batch
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, recipe.peak_rate, total_steps=recipe.epochs * self.steps,
            pct_start=TRAINED_WARM_UP if trained else WARM_UP,
        )  # fmt: skip
        self.forward: Callable[[Tensor], Tensor] = network
        self.best = BestWeights()
        self.pasting: Pasting | None = None
        if backgrounds is not None and recipe.pasted:
            self.pasting = Pasting(images.pixels, backgrounds.train, recipe.pasted)

    def state(self) -> dict[str, Any]:
        """State dicts by name, for a checkpoint."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "best": self.best.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.best.load(state["best"])

    def prepare(self, epochs: int) -> None:
        """Make the network fast for so many epochs."""
        slow_depthwise_in_float32(self.network)
        if self.recipe.compile and epochs * self.steps >= COMPILED_STEPS:
            self.forward = torch.compile(self.network)

    def epoch(self, epoch: int) -> float:
        """One pass over the images; the network is in evaluation mode afterwards. Returns the mean loss."""
        recipe, labels = self.recipe, self.images.labels
        generator = torch.Generator().manual_seed(recipe.seed * 1000 + epoch)
        order = torch.randperm(len(labels), generator=generator).numpy()
        bfloat16 = "AVX512" in torch.backends.cpu.get_cpu_capability()  # other processors emulate it, 20 times slower
        self._to_training_mode()
        total = 0.0
        bar = tqdm(
            range(self.steps), desc=f"epoch {epoch + 1}/{recipe.epochs}", mininterval=5, leave=False, disable=None
        )
        for step in bar:
            index = order[step * recipe.batch : (step + 1) * recipe.batch]
            images = self._augmented(index, generator)
            with autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
                logits = self.forward(images)
            done = (epoch * self.steps + step) / (recipe.epochs * self.steps)
            loss = self.objective.loss(logits, torch.from_numpy(labels[index]), done)
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip_norm)
            self.optimiser.step()
            self.schedule.step()
            if not torch.isfinite(loss):
                raise DataError(
                    f"the loss became {loss.item()} in epoch {epoch + 1}, step {step}; lower the peak learning rate"
                )
            total += loss.item()
            bar.set_postfix(loss=f"{total / (step + 1):.3f}", refresh=False)
        self.network.eval()
        return total / self.steps

    def _augmented(self, index: np.ndarray, generator: torch.Generator) -> Tensor:
        recipe, pixels = self.recipe, self.images.pixels[index]
        if self.pasting:
            pixels = self.pasting(pixels, index, generator)
        images = photographs(pixels, generator, recipe.flips) if recipe.photographs else shifts(pixels, generator)
        return quantise_some(images, recipe.quantised, generator).contiguous(memory_format=torch.channels_last)

    def _to_training_mode(self) -> None:
        """Frozen parts stay in evaluation mode: their batch norms keep their statistics."""
        self.network.train()
        if self.recipe.frozen:
            for part in (self.network.stem, self.network.blocks, self.network.end):
                part.eval()


def freeze(network: SDN, final: bool) -> None:
    """Keep the parameters of the backbone from being trained.

    Args:
        final: whether those of the last linear layer are kept too. The layer has to be trained where the backbone was trained
            for other classes.
    """
    network.requires_grad_(False)
    network.ics.requires_grad_(True)
    if not final:
        [layer for layer in network.end.modules() if isinstance(layer, nn.Linear)][-1].requires_grad_(True)


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Groups for the optimiser: weights of convolutions and linear layers with weight decay, all others without."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trained if parameter.ndim > 1]
    others = [parameter for parameter in trained if parameter.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
