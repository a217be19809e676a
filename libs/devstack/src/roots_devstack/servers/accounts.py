"""Which account a program runs as.

PostgreSQL refuses to run as root. Started by root, it runs as `nobody`; if `nobody` can't reach the wheel's programs
or the data folder (a checkout under /root, say), setpriv gives it the two capabilities that it needs to get there,
since nothing outside the project's folder may change its mode.
"""

import os
import pwd
import shutil
import signal
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from roots_devstack.errors import DevstackError

_USER = "nobody"
_REACH_CAPABILITIES = "+dac_override,+dac_read_search"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """How to become an account: by the system calls before the program starts, or by a `prefix` to its command line.

    Shape: uid and gid are None for the account that this process has already; owner_uid and owner_gid own the files.
    """

    uid: int | None = None
    gid: int | None = None
    owner_uid: int | None = None
    owner_gid: int | None = None
    prefix: tuple[str, ...] = ()

    def own(self, path: Path) -> None:
        """Give `path` to the account."""
        if self.owner_uid is not None and self.owner_gid is not None:
            os.chown(path, self.owner_uid, self.owner_gid)

    def wrap(self, command: Sequence[str | Path], orphan_signal: signal.Signals) -> list[str | Path]:
        """Return the command line that runs `command` as this account.

        A change of account clears the signal that the kernel sends to orphans, so the prefix asks for it again.
        """
        if not self.prefix:
            return list(command)
        return [*self.prefix, f"--pdeathsig={orphan_signal.name.removeprefix('SIG')}", "--", *command]


OURSELVES = Account()


def unprivileged(*paths: Path) -> Account:
    """Return an account other than root that can reach `paths`: this one, unless this one is root.

    Errors: DevstackError when there is no such account and no way to make one reach them.
    """
    if os.geteuid() != 0:
        return OURSELVES
    try:
        entry = pwd.getpwnam(_USER)
    except KeyError as error:
        raise DevstackError(
            f"PostgreSQL can't run as root, and there is no user {_USER}; run as another user"
        ) from error
    uid, gid = entry.pw_uid, entry.pw_gid
    if all(_is_open(path) for path in paths):
        return Account(uid=uid, gid=gid, owner_uid=uid, owner_gid=gid)
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise DevstackError(
            f"PostgreSQL can't run as root, and {_USER} can't enter {paths[0].parent};"
            " install util-linux's setpriv, or run as another user"
        )
    prefix = (
        setpriv,
        f"--reuid={uid}",
        f"--regid={gid}",
        "--clear-groups",
        f"--inh-caps=-all,{_REACH_CAPABILITIES}",
        f"--ambient-caps=-all,{_REACH_CAPABILITIES}",
        # initdb asks access(2) whether it may run `postgres`; without this bit the kernel answers as if there were no
        # capabilities.
        "--securebits=+no_setuid_fixup",
    )
    return Account(owner_uid=uid, owner_gid=gid, prefix=prefix)


def _is_open(path: Path) -> bool:
    """Return whether everyone may enter every folder above `path`."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.absolute().parents)
