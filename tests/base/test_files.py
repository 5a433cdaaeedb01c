"""Files that somebody has named: what else may stand in their place keeps nobody waiting and fills no memory."""

from __future__ import annotations

import errno
import io
import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from dockc.base import files, tls
from dockc.base.files import need_regular, open_regular, open_stream, read_regular
from dockc.errors import UsageError

_LIMIT = 1 << 16


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 10 << 30)


ODD: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "directory": lambda path: path.mkdir(),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path),
    "missing": lambda path: None,
    "sparse": _sparse,
}


@pytest.fixture(params=list(ODD))
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    ODD[request.param](tmp_path / "odd")
    return tmp_path / "odd"


def test_what_is_no_file_is_refused_at_once(odd: Path) -> None:
    with pytest.raises(OSError, match="odd"):
        read_regular(odd, _LIMIT)
    with pytest.raises(OSError, match="odd"):
        need_regular(odd, _LIMIT)


def test_certificates_are_files(odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match=r"odd|file|directory|symbolic"):
        tls.context(ca=str(odd))
    with pytest.raises(OSError, match="odd"):
        tls.show(ssl.create_default_context(), str(odd), str(odd))
    monkeypatch.setenv("SSL_CERT_FILE", str(odd))
    if odd.exists():
        with pytest.raises(UsageError, match="SSL_CERT_FILE"):
            tls.context()
    else:
        tls.context()


def test_certificates_that_the_kernel_makes_up_are_none() -> None:
    with pytest.raises(OSError, match="the file is empty"):
        tls.context(ca="/proc/self/status")


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * _LIMIT)
    assert read_regular(file, _LIMIT) == b"x" * _LIMIT
    with pytest.raises(OSError, match=f"larger than {_LIMIT - 1} bytes") as told:
        read_regular(file, _LIMIT - 1)
    assert told.value.errno == errno.EFBIG


def test_what_the_kernel_makes_up_is_read_to_its_end() -> None:
    assert read_regular("/proc/self/status", _LIMIT).startswith(b"Name:")
    with open_regular("/proc/self/status") as file:
        assert file.read(5) == b"Name:"
        assert file.readline()


def test_a_file_that_has_nothing_to_say_yet_is_an_error() -> None:
    """As the kernel's messages are: a regular file, of which a reader would wait for the next."""
    end, other = os.pipe2(os.O_NONBLOCK)
    with io.BufferedReader(files._Ready(end, "rb")) as file:
        os.write(other, b"some")
        assert file.read1(10) == b"some"
        with pytest.raises(BlockingIOError, match="temporarily"):
            file.read(10)
        with pytest.raises(BlockingIOError, match="temporarily"):
            file.read()
        os.close(other)
        assert file.read() == b""


def test_a_stream_is_a_file_or_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    keeper = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(keeper, b"some")
    with open_stream(tmp_path / "pipe") as file:
        assert file.read(4) == b"some"
    os.close(keeper)
    with pytest.raises(OSError, match="neither a file nor a pipe"):
        open_stream("/dev/zero")
