"""Reads the files of a .tar.gz into memory, and never more than its size and a bundle's needs allow.

Of a tar this takes the 512-byte headers alone, which tarfile decodes: no links, no sparse files, no extended headers,
none of which a bundle has and each of which has made readers loop or fill the memory.
"""

import gzip
import os
import struct
import tarfile
import zlib
from typing import Dict

from device.errors import BundleError

MAX_MEMBERS = 64
MAX_RATIO = 100  # unpacked / packed; weights are about 1.1, and a bomb of zeros is 1000
LEAST_BYTES = 1 << 20  # that even the smallest archive may hold
BLOCK = 512
FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)


def read_archive(path: str, max_bytes: int) -> Dict[str, bytes]:
    """Regular files by base name; folders, links and all else are skipped.

    Raises:
        BundleError: not a .tar.gz, cut off, two files of one name, more than ``max_bytes``, MAX_RATIO or MAX_MEMBERS.
    """
    try:
        limit = min(max_bytes, MAX_RATIO * os.path.getsize(path) + LEAST_BYTES)
        with gzip.open(path, "rb") as stream:
            return _files(stream, path, limit)
    except (tarfile.TarError, zlib.error, OSError, EOFError, struct.error) as error:
        raise BundleError(
            "could not read {} ({}); expected a bundle as .tar.gz; copy it again".format(path, error)
        ) from error


def _files(stream: gzip.GzipFile, path: str, limit: int) -> Dict[str, bytes]:
    contents: Dict[str, bytes] = {}
    left = limit
    for _ in range(MAX_MEMBERS):
        block = stream.read(BLOCK)
        if not block.strip(b"\0"):  # the end
            return contents
        member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        padded = -(-member.size // BLOCK) * BLOCK
        left -= padded
        if member.size < 0 or left < 0:
            raise BundleError("found a file of {} bytes in {}; expected at most {} in an archive of this size; copy it "
                              "again".format(member.size, path, limit))  # fmt: skip
        content = stream.read(padded)
        if len(content) < member.size:
            raise EOFError("it ends within a file")
        name = os.path.basename(member.name)
        if member.type in FILES and name:
            if name in contents:
                raise BundleError("found {!r} twice in {}; expected each file of a bundle once".format(name, path))
            contents[name] = content[: member.size]
    raise BundleError("found more than {} files in {}; expected a bundle".format(MAX_MEMBERS, path))
