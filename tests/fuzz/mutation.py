"""Changes the JSON inside an input and keeps it JSON: what a fuzzer of bytes rarely manages."""

import json
from random import Random
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 255, 256, 65535, 1 << 26, 1 << 32, 1 << 63, 1 << 64, 10**390, 0.5, -0.0, 1e308, float("inf"), float("nan"),
    "", "a", "a" * 100, "\ud800", "\0", "\n", "\x1b[31m", "{}", "{0}", "..", "../x", "/x", "5", "é", "\u2028",
    "FP16", "FP32", "INT64", "UINT8", "BOOL", "activation", "threshold", "label", [], {}, [[]], [0, 1], {"a": 1}, [1, [2]],
)  # fmt: skip
MOST_NODES = 4000


def mutated(data: bytes, random: Random) -> bytes | None:
    """``data`` with one to three changes in its first JSON object; None where it has none."""
    start = data.find(b"{")
    if start < 0:
        return None
    text = data[start:].decode("utf-8", "surrogateescape")
    try:
        value, end = json.JSONDecoder().raw_decode(text)
        for _ in range(random.randint(1, 3)):
            _change(value, random)
        changed = json.dumps(value).encode()
    except (ValueError, OverflowError, RecursionError):
        return None
    return data[:start] + changed + text[end:].encode("utf-8", "surrogateescape")


def _change(value: dict[str, Any], random: Random) -> None:
    places = _places(value)
    if not places:
        value[str(random.choice(VALUES))] = 0
        return
    holder, key = random.choice(places)
    how = random.randrange(6)
    old = holder[key]
    if how == 0:
        del holder[key]
    elif how == 1:
        other, name = random.choice(places)
        holder[key] = json.loads(json.dumps(other[name]))  # a copy: the same object twice might hold itself
    elif how == 2:
        holder[key] = [old] if random.randrange(2) else {"a": old}
    elif how == 3 and type(old) in (int, float):
        holder[key] = old + random.choice((-1, 1, 0.5, 1 << 16)) if random.randrange(2) else -old
    elif how == 4 and isinstance(old, list):
        old.extend(json.loads(json.dumps(old[: random.randint(0, 8)] or [0])))
    else:
        holder[key] = random.choice(VALUES)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(list or object, index or key) of everything inside."""
    places: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting and len(places) < MOST_NODES:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            places.append((holder, key))
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])
    return places
