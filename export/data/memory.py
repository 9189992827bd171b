"""How much memory this process may still take."""

import re
from pathlib import Path

CGROUP = Path("sys/fs/cgroup")


def available_bytes(root: Path = Path("/")) -> int | None:
    """What Linux has to give without swapping, or less where a container is bounded; None where neither is known.

    Args:
        root: where /proc and /sys are.
    """
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    bounds = [int(found[1]) << 10] if found else []
    most, used = (_text(root / CGROUP / f"memory.{name}").strip() for name in ("max", "current"))
    if most.isdecimal() and used.isdecimal():
        cached = re.search(
            r"^file (\d+)", _text(root / CGROUP / "memory.stat"), re.MULTILINE
        )  # given back when asked for
        bounds.append(max(0, int(most) - int(used) + (int(cached[1]) if cached else 0)))
    return min(bounds, default=None)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
