"""Hand-sign digits: photographs of hands that show 0 to 9, of about 175 students of a school in Ankara.

The Sign Language Digits Dataset (Z. Dikle, A. Mavi; Mavi, arXiv:2011.08927, 2020), Apache-2.0, in the public repository
ardamavi/Sign-Language-Digits-Dataset. The number in a file's name is the camera's, and one student's ten photographs have
consecutive numbers: so the splits are ranges of the number, each of which begins at a photograph of the digit 0, and no hand
is in two splits. The 1,753 photographs below number 5685 are used; export/data/signs.sha256 has the hash of each.
"""

import hashlib
import os
import re
import tarfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from device.errors import DataError
from export.data.download import Archive, cache_dir, fetch
from export.data.folder import read_listing
from export.data.images import SIGNS, Dataset
from export.data.listing import Ignored, Listing, Photograph, named

NAME = SIGNS
CLASSES = tuple("0123456789")
FIRST = {"train": 1118, "calibration": 4496, "test": 5101}
"""The number of the first photograph of each split."""
FOLDER = "sign-language-digits"
"""In the cache."""
INNER = ("", "Dataset", "Sign-Language-Digits-Dataset-master/Dataset")
"""Where the folders of the digits may lie within a folder: that of a clone, and that of an unpacked archive, too."""
ARCHIVE_URL = "https://github.com/ardamavi/Sign-Language-Digits-Dataset/archive/refs/heads/master.tar.gz"
ARCHIVE_BYTES = 400 << 20
FILE_BYTES = 1 << 20
ENOUGH = 0.5
"""Share of the photographs by whose names a folder is known as this data set."""
ADVICE = (
    "get the repository ardamavi/Sign-Language-Digits-Dataset of GitHub on another machine, and name its folder with --data DIR "
    "or SIGNS_DIR"
)


@cache
def hashes() -> Mapping[str, str]:
    """SHA-256 in hex of every photograph that is used, by its path such as 0/IMG_1118.JPG."""
    lines = Path(__file__).with_suffix(".sha256").read_text(encoding="ascii").splitlines()
    return {file: digest for digest, file in (line.split() for line in lines)}


def find_signs(folder: Path) -> Path | None:
    """The folder of the digits' folders, where a folder holds this data set; None where it holds something else."""
    for inner in INNER:
        place = folder / inner
        there = {f"{name}/{file}" for name in CLASSES for file in _names(place / name)}
        if sum(file in there for file in hashes()) >= ENOUGH * len(hashes()):
            return place
    return None


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def listed(place: Path) -> Listing:
    """The photographs with their splits, of a folder that ``find_signs`` found."""
    photographs = [Photograph(file, CLASSES.index(file[0]), _split(file)) for file in sorted(hashes())]
    return Listing(place, CLASSES, photographs, True, Ignored())


def _split(file: str) -> str:
    number = int(re.sub(r"\D", "", file[1:]))
    return max((first, split) for split, first in FIRST.items() if first <= number)[1]


def read_signs(place: Path, size: tuple[int, int], fit: str) -> Dataset:
    """The photographs of a folder that ``find_signs`` found.

    Args:
        size: (height, width) that they are brought to.
        fit: how (device/pictures/fit.py).

    Raises:
        DataError: some are not there, or have another content than those of the public archive.
    """
    absent = [file for file in hashes() if not (place / file).is_file()]
    if absent:
        raise DataError(
            f"found {len(hashes()) - len(absent)} of the {len(hashes())} photographs of hand-sign digits in {place}; {named(absent)} "
            f"{'is' if len(absent) == 1 else 'are'} not there; {ADVICE}"
        )
    data = read_listing(listed(place), size, fit, check=check_contents)
    return data._replace(source=f"hand-sign digits in {place}", name=NAME)


def check_contents(listing: Listing, found: Mapping[str, str]) -> None:
    """Check the SHA-256 of every photograph.

    Args:
        found: by file, in hex.

    Raises:
        DataError: it is not that of the public archive.
    """
    changed = [file for file, digest in found.items() if digest != hashes()[file]]
    if changed:
        raise DataError(
            f"found {len(changed)} photographs of hand-sign digits in {listing.folder} with another content than those of the public "
            f"archive ({named(changed)}); expected the archive's own; {ADVICE}"
        )


def fetch_signs(destination: Path, url: str = ARCHIVE_URL, limit_s: float = 1800) -> None:
    """Download the public archive, check every photograph that is used, and unpack these.

    Raises:
        DataError: as ``fetch``, or a photograph is not there or has another content.
    """
    fetch(Archive("hand-sign digits", FOLDER, url, ARCHIVE_BYTES, "", _unpack, ADVICE), destination, limit_s)


def _unpack(members: tarfile.TarFile, scratch: Path) -> None:
    found = {}
    for member in members:
        file = "/".join(member.name.split("/")[-2:])
        if file not in hashes() or not member.isfile() or member.size > FILE_BYTES:
            continue
        stream = members.extractfile(member)
        if stream is None:
            continue
        content = stream.read()
        (scratch / file).parent.mkdir(exist_ok=True)
        (scratch / file).write_bytes(content)
        found[file] = hashlib.sha256(content).hexdigest()
    absent = [file for file in hashes() if file not in found]
    if absent:
        raise DataError(
            f"found {len(found)} of {len(hashes())} photographs in the public archive of hand-sign digits; {named(absent)} "
            f"{'is' if len(absent) == 1 else 'are'} not there; {ADVICE}"
        )
    check_contents(listed(Path("its download")), found)


def signs_folder(limit_s: float, download: bool) -> Path:
    """Where the data set lies if no folder is named: $SIGNS_DIR, else the cache, else it is downloaded there.

    Raises:
        DataError: it is nowhere, or the download fails.
    """
    if given := os.environ.get("SIGNS_DIR"):
        place = find_signs(Path(given))
        if place is None:
            raise DataError(f"found no hand-sign digits in SIGNS_DIR, {given}; expected the folders 0 to 9 with photographs; {ADVICE}")  # fmt: skip
        return place
    cached = cache_dir() / FOLDER
    if not cached.is_dir():
        if not download:
            raise DataError("found no hand-sign digits; name their folder with --data DIR or SIGNS_DIR")
        fetch_signs(cached.parent, limit_s=limit_s)
    return cached
