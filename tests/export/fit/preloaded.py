"""What a process of test_stopped.py imports before it is forked."""

from export.commands import fit
from tests.export.fit import small

__all__ = ["fit", "small"]
