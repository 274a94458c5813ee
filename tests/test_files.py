"""Files are written whole or not at all; names are data, not paths."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from facesync import files
from facesync.errors import FileError
from facesync.faces.models import VGGFACE2
from facesync.files import (
    config_folder,
    folder_name,
    read_regular,
    read_text,
    replacing,
    same_name_key,
    temporary_beside,
    user_cache,
)


@pytest.mark.skipif(os.name != "posix", reason="there are no such files on Windows")
def test_a_pipe_or_device_is_not_read_and_a_link_only_if_asked(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="a pipe or a device"):
            read_regular(path)
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link") == b"content"
    with pytest.raises(OSError, match="it is a link"):
        read_regular(tmp_path / "link", follow=False)


@pytest.mark.skipif(os.name != "posix", reason="there are no such files on Windows")
def test_a_pipe_or_device_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")  # as /dev/stdout is one
    for path in (tmp_path / "pipe", tmp_path / "link"):
        with pytest.raises(FileError, match="a pipe or a device"), replacing(path):
            pytest.fail("opened")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "link").is_fifo()


def test_a_file_is_replaced_only_if_the_block_succeeds(tmp_path):
    path = tmp_path / "new" / "x.bin"
    with replacing(path) as file:
        file.write(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write(b"half of tw")
        raise ZeroDivisionError
    assert path.read_bytes() == b"one"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("private, mode", [(False, 0o644), (True, 0o600)])
@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_private_files_are_for_their_owner_alone(tmp_path, private, mode):
    before = os.umask(0o022)
    try:
        with replacing(tmp_path / "x", private=private) as file:
            file.write(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == mode


def test_a_full_disk_keeps_the_old_file_and_says_so(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def full(_handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=r"cannot write .*x: No space left"), replacing(path) as f:
        f.write(b"new")
    assert path.read_bytes() == b"old"
    assert not temporary_beside(path).exists()


@pytest.mark.parametrize(
    "code, said", [(errno.EIO, True), (errno.EINVAL, False), (errno.ENOTSUP, False)]
)
@pytest.mark.skipif(os.name != "posix", reason="folders are flushed on POSIX only")
def test_a_folder_that_cannot_be_flushed_is_no_failed_save(
    tmp_path, monkeypatch, caplog, code, said
):
    """The file is in its place by then; network drives, WSL and Android cannot flush a folder."""
    real = os.fsync

    def failing(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))
        real(handle)

    monkeypatch.setattr(os, "fsync", failing)
    with replacing(tmp_path / "x") as file:
        file.write(b"new")
    assert (tmp_path / "x").read_bytes() == b"new"
    assert ("a power cut could undo" in caplog.text) == said


@pytest.mark.parametrize("busy", [2, 10**6])
def test_a_file_that_is_open_elsewhere_is_waited_for(tmp_path, monkeypatch, busy):
    """On Windows, while a reader or a virus scanner has it."""
    (tmp_path / "x").write_bytes(b"old")
    real, tries = os.replace, iter(range(10**7))

    def held(old, new):
        if next(tries) < busy:
            raise PermissionError(errno.EACCES, "Access is denied")
        real(old, new)

    monkeypatch.setattr(os, "replace", held)
    monkeypatch.setattr(files, "BUSY_SECONDS", 5.0 if busy == 2 else 0.05)
    if busy == 2:
        with replacing(tmp_path / "x") as file:
            file.write(b"new")
        assert (tmp_path / "x").read_bytes() == b"new"
    else:
        with pytest.raises(FileError, match="Access is denied"), replacing(tmp_path / "x"):
            pass
        assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileError, match="cannot write"), replacing(tmp_path / "file" / "x"):
        pass


def test_kill_keeps_the_old_file_and_the_next_save_cleans_up(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    script = (
        "import os, sys; from facesync.files import replacing; from pathlib import Path\n"
        "with replacing(Path(sys.argv[1])) as f:\n"
        "    f.write(b'n' * 9000); f.flush(); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert path.read_bytes() == b"old"
    assert temporary_beside(path).exists()
    with replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["Ada", "Ada Lovelace", "José", "Łukasz", "x.y", "李雷", "a-b_c"])
def test_plain_names_are_their_own_folder(name):
    assert folder_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["../x", "..", ".", "", "con", "NUL.txt", "a/b", "a\\b", "x" * 300, "😀", "a\0b", "a\nb",
     " a", "a.", "-" * 300, "é" * 90, "com1", "C:", "a:b", "\ud800"],
)  # fmt: skip
def test_odd_names_become_one_safe_folder(name, tmp_path):
    folder = folder_name(name)
    made = tmp_path / folder
    made.mkdir()
    assert made.resolve().parent == tmp_path.resolve()
    assert len(folder.encode()) <= 120
    assert folder != name


def test_two_names_never_share_a_folder():
    names = [
        "",
        "x",
        "x.",
        " x",
        "../x",
        "..\\x",
        "x/",
        "😀",
        "😀😀",
        "a" * 300,
        "a" * 301,
        "é",
        "e",
    ]
    assert len({folder_name(name) for name in names}) == len(names)


def test_spellings_of_one_name_are_one_name():
    assert same_name_key("José") == same_name_key("JOSE\u0301")
    assert folder_name("Jose\u0301") == folder_name("José")
    assert same_name_key("José") != same_name_key("Jose")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"])
def test_text_in_the_encodings_of_windows_editors(tmp_path, encoding):
    mark = "\ufeff" if encoding.startswith("utf-16") else ""
    (tmp_path / "a.txt").write_bytes((mark + "José\r\n1 2\n").encode(encoding))
    assert read_text(tmp_path / "a.txt") == "José\n1 2\n"


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="pipes have no path here")
def test_text_comes_from_a_pipe_too():
    heard, said = os.pipe()
    os.write(said, b"a 1 2\n")
    os.close(said)
    assert read_text(Path(f"/dev/fd/{heard}")) == "a 1 2\n"
    os.close(heard)


@pytest.mark.parametrize("content", [b"\xff\xfea", b"caf\xe9", None], ids=["cut", "latin", "none"])
def test_text_that_cannot_be_read_is_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(FileError, match=r"cannot read .*a\.txt: "):
        read_text(tmp_path / "a.txt")


@pytest.mark.skipif(os.name != "posix", reason="accounts are of POSIX")
@pytest.mark.parametrize("place", [user_cache, config_folder, lambda: VGGFACE2.path])
def test_a_missing_home_folder_is_one_line(monkeypatch, place):
    """As in a container with a user id that has no account."""

    def no_account(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", no_account)
    with pytest.raises(FileError, match="set HOME to a folder of your own"):
        place()
