"""DeepSloth: perturbations that keep a multi-exit network from exiting early (Hong et al., ICLR 2021)."""

from export.attacks.linf import DeepSlothLinf
from export.attacks.universal import UniversalLinf

__all__ = ["DeepSlothLinf", "UniversalLinf"]
