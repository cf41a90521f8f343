"""File systems without hard links, locks or folders that can be synced: exFAT, CIFS, FUSE, Lustre, NFS."""

import errno
import fcntl
import os
import shutil
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mia_core.errors import Refused
from study.outcomes import REFUSED
from study.run import heartbeat
from study.store import Store, compact, files, read
from tests.commands import mia_study
from tests.small import SMALL
from tests.study.test_store import DESIGN, seal

NO_LINKS = [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EXDEV]
NO_LOCKS = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL]


def refusing(number):
    def call(*arguments, **named):
        raise OSError(number, os.strerror(number))

    return call


@pytest.fixture(params=NO_LINKS, ids=errno.errorcode.get)
def without_links(request, monkeypatch):
    monkeypatch.setattr(os, "link", refusing(request.param))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", "small")


def test_a_study_is_sealed_compacted_and_read_without_hard_links(without_links, store):
    store.probe()
    with store.lock():
        store.publish("d1", {"study": "small"}, DESIGN, {})
        seal(store)
        compact(store)
    assert len(read(store.root, "small", "trials")) == 1
    assert not [path for path in store.folder.rglob(".*") if path.name != ".lock"]


def test_of_many_who_create_a_file_at_once_exactly_one_does_without_hard_links(without_links, tmp_path):
    start = threading.Barrier(16)

    def create(number):
        start.wait()
        return files.create(tmp_path / "a.json", f"of {number}".encode())

    with ThreadPoolExecutor(16) as pool:
        created = list(pool.map(create, range(16)))
    assert sum(created) == 1
    assert (tmp_path / "a.json").read_bytes() == f"of {created.index(True)}".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_who_was_replaced_while_it_wrote_without_hard_links_was_not_first(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refusing(errno.EPERM))
    plain = os.fsync

    def replaced(descriptor):
        plain(descriptor)
        if (tmp_path / "a.json").exists():
            monkeypatch.setattr(os, "fsync", plain)
            files.write(tmp_path / "a.json", b"theirs")

    monkeypatch.setattr(os, "fsync", replaced)
    assert not files.create(tmp_path / "a.json", b"ours")
    assert (tmp_path / "a.json").read_bytes() == b"theirs"


def test_a_file_that_could_not_be_written_whole_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refusing(errno.EPERM))
    plain, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:  # the first is of the temporary file
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.create(tmp_path / "a.json", b"ours")
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_is_none_of_the_file_systems_is_no_reason_to_do_without_links(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refusing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        files.create(tmp_path / "a.json", b"ours")


def test_a_file_system_that_creates_a_file_twice_is_refused_before_anything_runs(store, monkeypatch):
    monkeypatch.setattr(os, "link", shutil.copyfile)
    with pytest.raises(Refused, match="a result could be sealed twice; name a folder on another one"):
        store.probe()


def test_the_probe_tries_what_sealing_needs(store, monkeypatch):
    monkeypatch.setattr(os, "link", refusing(errno.EIO))
    with pytest.raises(Refused, match=r"cannot write to .*: Input/output error"):
        store.probe()
    monkeypatch.undo()
    store.probe()
    assert list(store.folder.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_a_folder_that_cannot_be_synced_is_taken(number, tmp_path, monkeypatch):
    plain = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        plain(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    files.write(tmp_path / "a", b"one")
    assert files.create(tmp_path / "b", b"two")


@pytest.mark.parametrize("number", NO_LOCKS, ids=errno.errorcode.get)
def test_a_file_system_without_locks_is_said_to_be_one(number, tmp_path, monkeypatch, capsys):
    (tmp_path / "small.yaml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fcntl, "flock", refusing(number))
    assert mia_study("sweep")(["small.yaml"]) == REFUSED
    said = capsys.readouterr().err
    assert "its file system has no locks" in said and os.strerror(number) in said and "mount it with locks" in said
    assert "another sweep" not in said and said.count("\n") == 1
    assert not heartbeat.is_locked(Store(tmp_path / "results", "small"))


def test_another_sweep_is_still_said_to_be_one(store):
    with store.lock(), pytest.raises(Refused, match="another sweep"), store.lock():
        pass
