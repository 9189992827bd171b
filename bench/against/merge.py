"""python -m bench.against.merge TABLE.json ... --out FILE.json: one file of several, and the table and the plot of all of them."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bench.against.report import plot, short_table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.against.merge", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    merged: dict[str, Any] = {}
    for file in arguments.files:
        results = json.loads(file.read_text())
        networks = {**merged.get("networks", {}), **results["networks"]}
        merged = {**results, "networks": networks}
    arguments.out.write_text(json.dumps(rounded(merged), separators=(",", ":")) + "\n")
    print(short_table(merged))
    plot(merged, arguments.out.with_suffix(".png"))
    return 0


def rounded(content: Any) -> Any:
    """With four digits a number, which is more than the measurement is good for."""
    if isinstance(content, dict):
        return {name: rounded(each) for name, each in content.items()}
    if isinstance(content, list):
        return [rounded(each) for each in content]
    return float(f"{content:.5g}") if isinstance(content, float) else content


if __name__ == "__main__":
    sys.exit(main())
