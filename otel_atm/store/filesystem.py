"""File systems: a store lies only where a lock keeps all others out, on this host and on others.

Two things are asked, once per folder. Does a second `flock` of a file that is locked fail? And is
the file system one that other hosts may see without seeing our locks? The first is tried; the
second can only be told from the type of the mount.
"""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path
from typing import Final

from otel_atm.errors import StoreError

_MOUNTS: Final = Path("/proc/self/mountinfo")

#: Whose `flock` is a matter of one host, though others may see the files. A pattern of the type,
#: and one of the options, which decides where locks hold in one set-up and not in another.
_UNSAFE: Final = (
    (r"nfs4?", r"\b(local_lock=(all|flock)|nolock)\b"),
    (r"cifs|smb3|smbfs|afs|ncpfs", r""),
    (r"9p", r"^(?!.*\btrans=fd\b)"),  # `fd` is a sandbox (gVisor) or WSL: one host
    (r"fuse\.(sshfs|s3fs|gcsfuse|rclone|goofys|geesefs|blobfuse2?|curlftpfs|davfs2?)", r""),
    (r"fuse\.(mount-s3|mountpoint-s3|s3ql|afp.*|smbnetfs)", r""),
)

#: Folders whose locks hold. Forgotten when there are that many.
_sound: set[str] = set()
_MOST: Final = 1_000


def check_locks(locked: Path) -> None:
    """Make sure that locks hold in the folder of a file that we have locked.

    Raises:
        StoreError: they do not; says where, why, and what to do.
        OSError: the file cannot be opened again.
    """
    folder = str(locked.parent)
    if folder in _sound:
        return
    problem = unsafe_mount(_mounts(), folder)
    if problem is None and not _keeps_others_out(locked):
        problem = "a file that is locked can be locked again"
    if problem is not None:
        raise StoreError(
            f"{folder} cannot hold a store: {problem}, so that processes would overwrite each "
            "other's rows; put it on a local disk"
        )
    if len(_sound) >= _MOST:
        _sound.clear()
    _sound.add(folder)


def unsafe_mount(mounts: str, folder: str) -> str | None:
    """Why locks do not hold in a folder, as far as its mount tells; None: nothing is known.

    Args:
        mounts: as in ``/proc/self/mountinfo``; see proc(5).
        folder: an absolute path without symbolic links.
    """
    found = ("", "", "")
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(" "), f"{after}  ".split(" ", 2)
        if len(fields) < 6:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4])
        inside = f"{folder}/".startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(found[0]):  # the last of equal ones covers the others
            found = point, kind, f"{fields[5]},{options}"
    point, kind, options = found
    for kinds, which in _UNSAFE:
        if re.fullmatch(kinds, kind) and re.search(which, options):
            return f"{point} is a file system of type {kind}, where locks do not reach other hosts"
    return None


def _mounts() -> str:
    try:
        return _MOUNTS.read_text("utf-8", "surrogateescape")
    except OSError:
        return ""  # not Linux, or nobody tells: then only what is tried counts


def _keeps_others_out(locked: Path) -> bool:
    descriptor = os.open(locked, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
