"""File systems: a store lies only where locks hold."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import otel_atm as atm
from otel_atm.store import filesystem
from otel_atm.store.filesystem import check_locks, unsafe_mount
from otel_atm.store.lock import let_go, locked, open_locked
from tests.store.conftest import Writer, ids_of

ROOT = "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw"


def mounts(kind: str, options: str = "rw", point: str = "/data") -> str:
    return f"{ROOT}\n99 27 0:50 / {point} rw,noatime master:3 - {kind} server:/share {options}\n"


@pytest.fixture(autouse=True)
def nothing_is_known_yet() -> Iterator[None]:
    filesystem._sound.clear()
    yield
    filesystem._sound.clear()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("nfs", "rw,vers=3,local_lock=all"),
        ("nfs4", "rw,vers=4.2,local_lock=flock,addr=1.2.3.4"),
        ("nfs", "rw,nolock"),
        ("cifs", "rw"),
        ("smb3", "rw"),
        ("9p", "rw,trans=virtio"),
        ("9p", "rw"),
        ("afs", "rw"),
        ("fuse.sshfs", "rw,user_id=0"),
        ("fuse.s3fs", "rw"),
        ("fuse.gcsfuse", "rw"),
        ("fuse.rclone", "rw"),
    ],
)
def test_where_locks_stay_on_one_host_is_told_from_the_mount(kind: str, options: str) -> None:
    problem = unsafe_mount(mounts(kind, options), "/data/shop")
    assert problem == f"/data is a file system of type {kind}, where locks do not reach other hosts"
    assert unsafe_mount(mounts(kind, options), "/database") is None


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ext4", "rw"),
        ("xfs", "rw"),
        ("tmpfs", "rw"),
        ("overlay", "rw,lowerdir=/a"),
        ("nfs4", "rw,vers=4.2,local_lock=none"),
        ("ceph", "rw"),
        ("fuse.fuse-overlayfs", "rw"),
        ("9p", "rw,trans=fd,rfdno=4"),  # a gVisor sandbox
    ],
)
def test_others_are_believed_if_a_lock_keeps_others_out(kind: str, options: str) -> None:
    assert unsafe_mount(mounts(kind, options), "/data/shop") is None


def test_the_innermost_mount_counts_and_of_two_at_one_place_the_last() -> None:
    inner = mounts("cifs") + "100 99 0:51 / /data/local rw - ext4 /dev/vdb rw\n"
    assert unsafe_mount(inner, "/data/local/shop") is None
    assert unsafe_mount(inner, "/data/locality") is not None
    assert unsafe_mount(mounts("cifs") + mounts("ext4"), "/data") is None
    assert unsafe_mount(mounts("ext4") + mounts("cifs"), "/data") is not None


def test_a_mount_with_a_space_in_its_name_is_found() -> None:
    assert unsafe_mount(mounts("cifs", point=r"/my\040data"), "/my data/shop") is not None


@pytest.mark.parametrize("text", ["", "\n", "nonsense", "1 2 3 - ", "- - -"])
def test_what_cannot_be_read_says_nothing(text: str) -> None:
    assert unsafe_mount(text, "/data") is None


def test_a_lock_that_does_not_keep_others_out_is_found_by_trying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    descriptor = open_locked(path, os.O_RDWR | os.O_CREAT)
    assert descriptor is not None
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", lambda *_: None)
        with pytest.raises(atm.StoreError) as raised:
            check_locks(path)
    assert str(raised.value) == (
        f"{tmp_path} cannot hold a store: a file that is locked can be locked again, so that "
        "processes would overwrite each other's rows; put it on a local disk"
    )
    check_locks(path)  # it was not this folder's fault
    let_go(descriptor)


def test_a_child_process_is_kept_out_too(tmp_path: Path) -> None:
    """What is tried with two descriptors of one process holds between processes."""
    with locked(tmp_path / "lock"):
        child = os.fork()
        if child == 0:
            try:
                descriptor = os.open(tmp_path / "lock", os.O_RDWR)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_folder_is_asked_about_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(filesystem, "_mounts", lambda: asked.append("") or ROOT)
    for _ in range(3):
        with locked(tmp_path / "lock"):
            pass
    assert len(asked) == 1


class TestAStoreOnANetworkFileSystem:
    @pytest.fixture
    def shared(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        monkeypatch.setattr(filesystem, "_mounts", lambda: mounts("cifs", point=str(tmp_path)))
        return str(tmp_path)

    def test_drops_rows_counts_them_and_says_it_once(
        self, writer: Writer, shared: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(3):
            writer.call()
        assert writer.trouble.dropped == {"spool_write": 3}
        assert writer.segments() == []
        (record,) = caplog.records
        assert f"{shared} is a file system of type cifs, where locks do not" in record.getMessage()
        writer.trouble.counts.clear()

    def test_is_no_place_to_read_from(
        self, writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        event = writer.call()
        assert ids_of(writer.paths.database) == [event]
        filesystem._sound.clear()
        monkeypatch.setattr(filesystem, "_mounts", lambda: mounts("cifs", point=str(tmp_path)))
        with pytest.raises(atm.StoreError, match="type cifs"):
            ids_of(writer.paths.database)
