"""Library calls that read what others made stand at one place each, where their exceptions are translated."""

import os
import re

import pytest

from tests.device.conftest import DATA

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(DATA)))
PLACES = {
    r"cv2\.imread": (),
    r"cv2\.imdecode": ("device/pictures/read.py", "export/defences/frames.py"),  # the second decodes what it encoded
    r"cv2\.VideoCapture\(": ("device/cameras/capture.py",),
    r"np\.load\b|numpy\.load\b(?!:)": (
        "export/attacks/crafting.py",
        "export/data/photograph_cache.py",
    ),  # their own caches, in which damage is a missing entry
    r"np\.fromfile": (),
    r"zipfile\.ZipFile\(": ("device/system/zip_file.py",),
    r"allow_pickle=True": (),
}


def sources():
    for folder in ("device", "export"):
        for path, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                if name.endswith(".py"):
                    file = os.path.join(path, name)
                    with open(file, encoding="utf-8") as stream:
                        yield os.path.relpath(file, ROOT), stream.read()


@pytest.mark.parametrize("pattern", sorted(PLACES))
def test_a_reader_is_called_at_its_place_alone(pattern):
    found = {name for name, text in sources() if re.search(pattern, re.sub(r'"""(?:.|\n)*?"""', "", text))}
    assert found <= set(PLACES[pattern])
