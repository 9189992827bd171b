"""Which attack something was learned from, as table.json records it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from export.attacks.base import PerSampleAttack
from export.calibration.json_fields import Fields

NAMES = {"DeepSlothLinf": "DeepSloth L-inf", "DeepSlothL2": "DeepSloth L2", "DeepSlothL1": "DeepSloth L1"}


@dataclass(frozen=True, slots=True)
class AttackRecord:
    """An attack with its settings.

    Args:
        name: in words, such as "DeepSloth L-inf".
        settings: number of iterations, size of a step and so on, by their names in export/attacks.
    """

    name: str
    settings: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, attack: PerSampleAttack) -> "AttackRecord":
        kind = type(attack).__name__
        return cls(NAMES.get(kind, kind), asdict(attack))

    @classmethod
    def from_json(cls, fields: Fields) -> "AttackRecord":
        """Raises ValueError where the name is no text or a setting no number."""
        return cls(fields.text("name"), {each: fields.number(each) for each in fields if each != "name"})

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, **self.settings}
