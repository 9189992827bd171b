"""What the export knows of a network before any weights are read."""

from collections.abc import Callable
from dataclasses import dataclass, field

from device.errors import UsageError
from export.networks.sdn import SDN

PHOTOGRAPH = 64
"""Side in pixels from which the networks of the paper, which are for CIFAR-10, have a stem with a stride."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained: SGD with Nesterov momentum 0.9 under a one-cycle schedule; the gradient norm is clipped.

    Args:
        epochs: passes over the training images.
        peak_rate: highest learning rate of the schedule.
        batch: images in a step.
        weight_decay: of convolutions and linear layers; biases, batch norm and pooling mixes have none.
        clip_norm: largest norm of the gradient.
        quantised: share of a batch, 0 to 1, that is shown behind DefQ with a flat table of a random step, so that the
            network learns to read quantised images. No attacked image and no learned table takes part.
        compile: whether torch.compile makes the network faster.
        seed: of the order of the images, their augmentation and the first weights.
        photographs: whether images are augmented as photographs, by crops, turns, light and colour, instead of by shifts of a
            few pixels (export/networks/augmentation.py).
        flips: whether half of the photographs are mirrored. Signs and text have a handedness.
        pasted: share of the photographs, 0 to 1, that are shown before other backgrounds (export/networks/pasting.py).
        exit_weight: weight of the loss of every internal classifier. 0: it rises from 0.01 to the relative cost of the exit,
            as in the SDN paper.
        distilled: weight of a second loss of every internal classifier, the distance from what the final classifier answers.
        frozen: whether the backbone stays as it is and the internal classifiers alone are trained.
        patience: stop after so many evaluations without an improvement on the calibration split, and take the weights that
            were best there; 0: train to the end, and take the last ones.
    """

    epochs: int = 12
    peak_rate: float = 0.1
    batch: int = 256
    weight_decay: float = 5e-4
    clip_norm: float = 5.0
    quantised: float = 0.0
    compile: bool = False
    seed: int = 0
    photographs: bool = False
    flips: bool = True
    pasted: float = 0.0
    exit_weight: float = 0.0
    distilled: float = 0.0
    frozen: bool = False
    patience: int = 0


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """One network. A module of this folder that assigns ``SPEC`` adds one (docs/importing.md, "A network of your own").

    Args:
        name: the name of its module, which ``--model`` takes.
        build: (number of classes, (height, width) of the images) -> an SDN with random weights, for RGB images of
            that size in [0, 1].
        input_size: (height, width) in pixels of the images, where nobody says another size.
        exits: how many it has, the final classifier among them.
        recipe: how it is trained, where the command line says nothing else.
    """

    name: str
    build: Callable[[int, tuple[int, int]], SDN]
    input_size: tuple[int, int]
    exits: int
    recipe: Recipe = field(default_factory=Recipe)

    def network(self, classes: int) -> SDN:
        """The network with random weights for images of ``input_size``."""
        return self.build(classes, self.input_size)


def side_of(input_size: tuple[int, int], multiple: int, smallest: int = 0, largest: int = 0) -> int:
    """The side in pixels of square images, for a network that halves its maps until one of ``multiple`` pixels is left.

    Args:
        input_size: height and width of the images.
        smallest, largest: bounds of the side in pixels; 0: ``multiple``, and none.

    Raises:
        UsageError: images that are not square, or whose side is no multiple of ``multiple``, or beyond the bounds.
    """
    height, width = input_size
    smallest = smallest or multiple
    if height != width or height % multiple or height < smallest or (largest and height > largest):
        bounds = (
            f", from {smallest} to {largest}" if largest else f", from {smallest} up" if smallest > multiple else ""
        )
        raise UsageError(
            f"found images of {width} x {height} pixels; expected square ones whose side is a multiple of {multiple}{bounds}, as this "
            "network needs; choose another size or another --model"
        )
    return height
