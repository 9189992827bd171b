"""Keeps built TensorRT engines on disk.

Building an engine takes minutes. It fits only the graph, the version of TensorRT, the precision and the GPU that it was built
for.
"""

import hashlib
import os
import sys
import tempfile
from typing import Optional

from device.system.files import user_cache

DIGEST_BYTES = 32


def folder() -> Optional[str]:
    """The folder $DEFQ_ENGINES, or else defq/engines in the user's cache folder; None if the user has no such folder."""
    own = os.environ.get("DEFQ_ENGINES")
    if own:
        return os.path.abspath(own)
    cached = user_cache()
    return None if cached is None else os.path.join(cached, "engines")


def key(model: bytes, *parts: object) -> str:
    """The SHA-256, in hex, of a graph and of everything else that its engine depends on."""
    digest = hashlib.sha256(model)
    for part in parts:
        digest.update("\n{}".format(part).encode("utf-8"))
    return digest.hexdigest()


def exists(name: str) -> bool:
    path = folder()
    return path is not None and os.path.exists(os.path.join(path, name))


def private_folder(*inside: str) -> Optional[str]:
    """A folder of the cache, which is created if it is absent.

    An engine is code for the GPU, and TensorRT does not detect a forged one. So the folder is not used if other users can write
    to it.

    Returns:
        None, after a warning on stderr, if others can write to the folder or it cannot be created.
    """
    path = folder()
    if path is None:
        print("warning: found no home folder for the engine cache; expected HOME or DEFQ_ENGINES to name a folder of your own; "
              "the engine is built again at every start; set DEFQ_ENGINES", file=sys.stderr, flush=True)  # fmt: skip
        return None
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        status = os.stat(path)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise PermissionError(0, "others can write there")
        path = os.path.join(path, *inside)
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        print("warning: found no use for the engine cache {} ({}); expected a folder of your own with mode 0700; the engine is "
              "built again at every start; set DEFQ_ENGINES to such a folder".format(path, error.strerror),
              file=sys.stderr, flush=True)  # fmt: skip
        return None
    return path


def load(name: str) -> Optional[bytes]:
    """The engine that was stored under a name; None if there is none, or, after a warning, if it is damaged."""
    path = private_folder()
    if path is None or not exists(name):
        return None
    try:
        with open(os.path.join(path, name), "rb") as file:
            digest, content = file.read(DIGEST_BYTES), file.read()
    except OSError:
        digest = content = b""
    if hashlib.sha256(content).digest() == digest:
        return content
    print("warning: found a damaged engine {}; it is built again".format(os.path.join(path, name)),
          file=sys.stderr, flush=True)  # fmt: skip
    return None


def store(name: str, content: bytes) -> None:
    """Store an engine. An interrupted run leaves no incomplete engine under the name. A full disk only causes a warning."""
    path = private_folder()
    if path is None:
        return
    partial = ""
    try:
        handle, partial = tempfile.mkstemp(dir=path, prefix=name + ".")  # mode 0600
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # boards lose power: the name must not be on disk before the content
        os.replace(partial, os.path.join(path, name))
    except OSError as error:
        if os.path.exists(partial):
            os.remove(partial)
        print("warning: could not keep the engine in {} ({}); expected {} MB of space; it is built again at the next "
              "start".format(path, error.strerror, (len(content) >> 20) + 1), file=sys.stderr, flush=True)  # fmt: skip
