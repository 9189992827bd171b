"""The user that the host runs as."""

import os
from typing import Any

from device.errors import UsageError


def is_root() -> bool:
    """Whether this process runs as root."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def found_user(name: str) -> Any:
    """The entry of a user, as module pwd gives it.

    Raises:
        UsageError: there is no such user on this machine, or this process may not become another user.
    """
    if not hasattr(os, "setuid"):
        raise UsageError(f"found --user {name} on a system that has no such change of users; start the host as {name}")
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise UsageError(
            f"found no user {name!r} on this machine; expected one for --user; make it with: useradd --system {name}"
        ) from error
    if os.geteuid() not in (0, entry.pw_uid):
        raise UsageError(
            f"found --user {name} and another user than root; expected root, which alone becomes another; start the host as {name} without --user"
        )
    return entry


def become(entry: Any) -> None:
    """Become this user, with its groups, for good. Files and ports that only root may open must be open by now."""
    if os.geteuid() == entry.pw_uid:
        return
    os.initgroups(entry.pw_name, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ.update(HOME=entry.pw_dir, USER=entry.pw_name, LOGNAME=entry.pw_name)
