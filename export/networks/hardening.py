"""Training of a hardened twin: the same network trained on against attacks of one step (export/attacks/one_step.py).

Every batch has clean images, images attacked by the slow-down loss, and images attacked by the loss of their label. The target is
always the label, at every exit. The twin ends at an internal classifier, since later exits of a network that was trained like
this are hardly more accurate, and costs less than half as much to train for that.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, autocast, nn
from tqdm import tqdm

from device.errors import DataError
from device.system.console import duration
from export.attacks.label import LabelLinf
from export.attacks.linf import DeepSlothLinf
from export.attacks.one_step import OneStepLinf
from export.data.images import Dataset, Images
from export.networks.augmentation import photographs, shifts
from export.networks.best import BestWeights
from export.networks.bfloat16 import slow_depthwise_in_float32
from export.networks.checkpoint import TrainingRun, read_checkpoint, write_checkpoint
from export.networks.exits import ending_at
from export.networks.loading import load_network
from export.networks.model_files import ModelFiles
from export.networks.sdn import SDN, folded
from export.networks.training import COMPILED_STEPS, TRAINED_WARM_UP, parameter_groups
from export.networks.weights import to_tensor

PROBED = 256
"""Calibration images that are attacked after every epoch."""
STEPS, STEP = 10, 1 / 128
"""Of the attacks after every epoch."""
RISE = 0.5
"""Share of the steps in which the size of the attacks rises."""


@dataclass(frozen=True, slots=True)
class HardeningRecipe:
    """How a twin is trained: SGD with Nesterov momentum 0.9 under a one-cycle schedule; the gradient norm is clipped.

    Args:
        epochs: passes over the training images.
        peak_rate: highest learning rate of the schedule.
        batch: images in a step.
        clean, slowed: share of a batch that is not attacked, and that is attacked by the slow-down loss. The others are attacked
            by the loss of their label.
        first_eps, eps: largest change of a pixel at the first step, and from the middle of the training on.
        early_weights: weights of the losses of the first exits; those of all others are 1.
        averaged: the twin's weights are a moving average of those of the training; this is the share that a step keeps.
        patience: stop after so many epochs in which the accuracy under attack did not rise, and take the weights of the best
            epoch; 0: train to the end.
        photographs, flips, compile, weight_decay, clip_norm, seed: as in export/networks/spec.py.
    """

    epochs: int = 10
    peak_rate: float = 0.06
    batch: int = 128
    clean: float = 0.25
    slowed: float = 0.45
    first_eps: float = 4 / 256
    eps: float = 8 / 256
    early_weights: tuple[float, ...] = (0.3, 0.5)
    averaged: float = 0.998
    patience: int = 3
    photographs: bool = False
    flips: bool = True
    compile: bool = False
    weight_decay: float = 5e-4
    clip_norm: float = 5.0
    seed: int = 0

    def eps_at(self, done: float) -> float:
        """The largest change of a pixel when this share of the training is done, 0 to 1."""
        return self.first_eps + (self.eps - self.first_eps) * min(1.0, done / RISE)


def hardened(files: ModelFiles, last: int, data: Dataset, recipe: HardeningRecipe, checkpoint: Path) -> SDN:
    """Train the twin of a network and return it in evaluation mode. After every epoch the whole state is written to
    ``checkpoint``, and a run that finds a checkpoint of the same network, data and recipe continues from it.

    Args:
        files: of the network, whose weights the training begins from.
        last: the exit, from 1, at which the twin ends.

    Raises:
        DataError: the checkpoint is of another run or cannot be read, or the loss is no number.
        OutputError: the checkpoint cannot be written.
    """
    torch.manual_seed(recipe.seed)
    network = ending_at(load_network(files), last)
    told = f"twin to exit {last} of {files.description.told()}"
    settings = {name: value for name, value in asdict(recipe).items() if name != "patience"}
    run = TrainingRun(told, data.sha256(), data.source, files.sha256, settings)
    training = _Hardening(network, data.train, recipe)
    done = 0
    if checkpoint.exists():
        state = read_checkpoint(checkpoint, run)
        training.restore(state)
        done = state["epoch"]
        print(f"goes on after epoch {done} of {recipe.epochs} from {checkpoint}", flush=True)
    training.prepare(recipe.epochs - done)
    probe, began_s = data.calibration.take(PROBED), time.monotonic()
    for epoch in range(done, recipe.epochs):
        if training.best.waited >= recipe.patience > 0:
            print(f"stops after epoch {epoch}: no better since epoch {training.best.epoch}", flush=True)
            break
        loss = training.epoch(epoch)
        clean, slowed, wrong = accuracies(training.average, probe)
        grown = epoch + 1 > RISE * recipe.epochs  # the attacks grow until then, and a lower accuracy says nothing
        training.best.see(epoch + 1, slowed + wrong, training.average, counts=grown)
        write_checkpoint(checkpoint, run, epoch + 1, training.state())
        left_s = (time.monotonic() - began_s) / (epoch + 1 - done) * (recipe.epochs - epoch - 1)
        print(
            f"epoch {epoch + 1}/{recipe.epochs}  loss {loss:.3f}  accuracy of the last exit: clean {clean:.3f}, slowed down "
            f"{slowed:.3f}, label attacked {wrong:.3f}"
            + (f"; at most about {duration(left_s)} left" if epoch + 1 < recipe.epochs else ""),
            flush=True,
        )
    training.best.restore(training.average)
    return training.average.eval()


@torch.no_grad()
def accuracies(network: SDN, images: Images) -> tuple[float, float, float]:
    """Accuracy of the last exit on images: clean, under DeepSloth L-inf against the exits before it, and under an attack on the
    label at all exits, of 10 steps each."""
    target = folded(network)
    clean, labels = to_tensor(images.pixels), torch.from_numpy(images.labels)
    with torch.enable_grad():
        slowed = DeepSlothLinf(iterations=STEPS, step=STEP)(target, clean, progress=False)
        wrong = LabelLinf(iterations=STEPS, step=STEP)(target, clean, labels)
    return _accuracy(target, clean, labels), _accuracy(target, slowed, labels), _accuracy(target, wrong, labels)


def _accuracy(network: SDN, images: Tensor, labels: Tensor) -> float:
    answers = torch.cat([network(part)[-1].argmax(-1) for part in torch.split(images, 250)])
    return float((answers == labels).float().mean())


class _Hardening:
    """A network with its optimiser and the moving average of its weights."""

    def __init__(self, network: SDN, images: Images, recipe: HardeningRecipe) -> None:
        self.network, self.images, self.recipe = network, images, recipe
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.optimiser = torch.optim.SGD(
            parameter_groups(network, recipe.weight_decay), lr=recipe.peak_rate, momentum=0.9, nesterov=True
        )
        self.batch = min(recipe.batch, len(images.labels))
        self.steps = len(images.labels) // self.batch
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, recipe.peak_rate, total_steps=recipe.epochs * self.steps, pct_start=TRAINED_WARM_UP
        )
        self.weights = torch.ones(len(network.ics) + 1)
        early = torch.tensor(recipe.early_weights)[: len(network.ics)]
        self.weights[: len(early)] = early
        self.forward: Callable[[Tensor], Tensor] = network
        self.best = BestWeights()

    def state(self) -> dict[str, Any]:
        """State dicts by name, for a checkpoint."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "best": self.best.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        for name in ("network", "average", "optimiser", "schedule"):
            getattr(self, name).load_state_dict(state[name])
        self.best.load(state["best"])

    def prepare(self, epochs: int) -> None:
        """Make the network fast for so many epochs."""
        slow_depthwise_in_float32(self.network)
        if self.recipe.compile and epochs * self.steps >= COMPILED_STEPS:
            self.forward = torch.compile(self.network)

    def epoch(self, epoch: int) -> float:
        """One pass over the images. Returns the mean loss."""
        recipe, labels = self.recipe, self.images.labels
        generator = torch.Generator().manual_seed(recipe.seed * 1000 + epoch)
        order = torch.randperm(len(labels), generator=generator).numpy()
        total = 0.0
        bar = tqdm(range(self.steps), desc=f"epoch {epoch + 1}/{recipe.epochs}", mininterval=10)
        for step in bar:
            index = order[step * self.batch : (step + 1) * self.batch]
            done = (epoch * self.steps + step) / (recipe.epochs * self.steps)
            loss = self._step(self._augmented(index, generator), torch.from_numpy(labels[index]), done, generator)
            if not np.isfinite(loss):
                raise DataError(
                    f"the loss became {loss} in epoch {epoch + 1}, step {step}; lower the peak learning rate"
                )
            total += loss
            bar.set_postfix(loss=f"{total / (step + 1):.3f}", refresh=False)
        self.network.eval()
        return total / self.steps

    def _step(self, images: Tensor, labels: Tensor, done: float, generator: torch.Generator) -> float:
        recipe = self.recipe
        clean, slowed = round(len(images) * recipe.clean), round(len(images) * recipe.slowed)
        attack = OneStepLinf(eps=recipe.eps_at(done))
        self.network.eval().requires_grad_(False)
        attacked = attack(self._logits, images[clean:], labels[clean:], slowed, generator)
        self.network.train().requires_grad_(True)
        shown = torch.cat([images[:clean], attacked]).contiguous(memory_format=torch.channels_last)
        losses = torch.stack([nn.functional.cross_entropy(each, labels) for each in self._logits(shown)])
        loss = (self.weights * losses).sum()
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip_norm)
        self.optimiser.step()
        self.schedule.step()
        self._average()
        return float(loss.item())

    def _logits(self, images: Tensor) -> Tensor:
        bfloat16 = "AVX512" in torch.backends.cpu.get_cpu_capability()  # other processors emulate it, 20 times slower
        with autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            return self.forward(images)

    @torch.no_grad()
    def _average(self) -> None:
        """Move the average towards the weights, faster at the beginning, when these are still those of the other network."""
        steps = int(self.schedule.last_epoch)
        kept = min(self.recipe.averaged, (1 + steps) / (10 + steps))
        for mean, value in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - kept)
            else:
                mean.copy_(value)

    def _augmented(self, index: np.ndarray, generator: torch.Generator) -> Tensor:
        pixels = self.images.pixels[index]
        return (
            photographs(pixels, generator, self.recipe.flips) if self.recipe.photographs else shifts(pixels, generator)
        )
