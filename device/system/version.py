"""The version of this project, and the git commit that it was made from where that is known."""

import os
import re
import subprocess

from device import __version__

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COMMIT_FILE = "commit.txt"
"""In device/: written when a wheel or a kit is built. A checkout of the repository asks git instead."""
COMMIT = re.compile("[0-9a-f]{7,40}")
LIMIT_S = 5


def version_text(program: str) -> str:
    """For ``--version``, as in ``defq 0.2.0 (commit 0c1b85f2a931)``; never an error."""
    commit = known_commit()
    return "{} {}{}".format(program, __version__, " (commit {})".format(commit) if commit else "")


def known_commit() -> str:
    """The commit of the built package, else that of the checkout around it; empty where neither is known."""
    try:
        with open(os.path.join(PACKAGE, COMMIT_FILE), encoding="ascii") as file:
            text = file.read(64).strip()
    except (OSError, ValueError):
        return git_commit(os.path.dirname(PACKAGE))
    return text if COMMIT.fullmatch(text) else ""


def git_commit(folder: str) -> str:
    """The first 12 digits of the commit that is checked out in ``folder``.

    Returns:
        empty where the folder is not the top of a repository, or git is missing or refuses to answer.
    """
    if not os.path.exists(os.path.join(folder, ".git")):  # a repository further up is not this package's
        return ""
    try:
        answer = subprocess.run(
            ["git", "-C", folder, "rev-parse", "--short=12", "HEAD"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=LIMIT_S,
        ).stdout.decode("ascii", "replace").strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer if COMMIT.fullmatch(answer) else ""
