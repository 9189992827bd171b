"""DeepSloth: perturbations that keep a multi-exit network from exiting early (Hong et al., ICLR 2021)."""

from export.attacks.adaptive import Defended
from export.attacks.base import MultiExit, PerSampleAttack
from export.attacks.l1 import DeepSlothL1
from export.attacks.l2 import DeepSlothL2
from export.attacks.linf import DeepSlothLinf, GreyLinf
from export.attacks.universal import ClassUniversalLinf, UniversalLinf

__all__ = [
    "ClassUniversalLinf",
    "DeepSlothL1",
    "DeepSlothL2",
    "DeepSlothLinf",
    "Defended",
    "GreyLinf",
    "MultiExit",
    "PerSampleAttack",
    "UniversalLinf",
]
