"""The last step of a training on photographs: exits that are calibrated, and as few of them as lose nothing."""

import torch

from export.calibration.cost import ExitScores, stage_costs
from export.calibration.exit_choice import choose_exits
from export.calibration.temperature import divide_logits, exit_logits, fitted_temperatures
from export.data.images import Images
from export.networks.exits import with_exits
from export.networks.sdn import SDN


def with_calibrated_exits(network: SDN, images: Images, choose: bool = True) -> tuple[SDN, list[float]]:
    """Learn the temperature of every exit, make it part of the weights, and leave out the exits that do not pay. Prints what was
    found.

    Args:
        network: in evaluation mode; its last linear layers are changed.
        images: calibration images.
        choose: whether exits may be left out.

    Returns:
        The network that is left, which shares its modules with ``network``, and the temperatures of its exits, the final
        classifier's last.
    """
    logits, labels = exit_logits(network, images), torch.from_numpy(images.labels)
    temperatures = fitted_temperatures(logits, labels)
    divide_logits(network, temperatures)
    numbers = network.exit_numbers
    kept = list(range(len(numbers)))
    if choose:
        best = (logits / temperatures[:, None, None]).softmax(-1).max(-1)
        scores = ExitScores(best.values.float().numpy(), best.indices.numpy())
        choice = choose_exits(scores, images.labels, stage_costs(network))
        kept = [each - 1 for each in choice.exits]
        print(
            f"keeps {len(kept)} of {len(numbers)} exits, behind blocks {', '.join(str(numbers[each]) for each in kept)}: "
            f"mean cost {choice.point.mean_cost:.3f} at RAD 5",
            flush=True,
        )
        network = with_exits(network, [numbers[each] for each in kept])
    found = [float(temperatures[each]) for each in (*kept, -1)]
    print(f"temperatures of the exits: {', '.join(f'{each:.2f}' for each in found)}", flush=True)
    return network, found
