"""--secret and --ssh values."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from dockc.errors import DockcError, UsageError
from dockc.runtime.session.secrets import ClientSecrets, ClientSsh, SecretFile, parse_secret


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id=a,src=/x", SecretFile("a", "/x")),
        ("id=a,source=/x,type=file", SecretFile("a", "/x")),
        ("type=env,id=a", SecretFile("a")),
        ("id=a,env=NAME", SecretFile("a", "", "NAME")),
        ("id=a,type=env,src=NAME", SecretFile("a", "", "NAME")),
        ('id=a,"src=/with,comma"', SecretFile("a", "/with,comma")),
    ],
)
def test_parse(text: str, expected: SecretFile) -> None:
    assert parse_secret(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id", "invalid field 'id' must be a key=value pair"),
        ("id=a,type=vault", 'unsupported secret type "vault"'),
        ("id=a,colour=red", "unexpected key 'colour' in 'colour=red'"),
    ],
)
def test_parse_errors(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_secret(text)
    assert caught.value.message == message


def test_sources(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"from file\0")
    store = ClientSecrets(
        [SecretFile("file", str(file)), SecretFile("env", "", "NAME"), SecretFile("SAME")],
        {"NAME": "from env", "SAME": "by id"},
    )
    assert store.get("file") == b"from file\0"
    assert store.get("env") == b"from env"
    assert store.get("SAME") == b"by id"
    assert store.get("other") is None


def test_a_bare_id_is_a_file_unless_it_is_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("token").write_text("t")
    assert ClientSecrets([SecretFile("token")], {}).get("token") == b"t"


def test_bad_sources(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="secret missing ID"):
        ClientSecrets([SecretFile("", "/x")])
    with pytest.raises(UsageError, match="failed to stat /no/file: stat /no/file: no such file or directory"):
        ClientSecrets([SecretFile("a", "/no/file")])
    large = tmp_path / "large"
    large.write_bytes(bytes(500 * 1024 + 1))
    with pytest.raises(UsageError, match=r"secret a too big\. max size 500KB"):
        ClientSecrets([SecretFile("a", str(large))])


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("x")
    store = ClientSecrets([SecretFile("a", str(file))])
    file.unlink()
    with pytest.raises(DockcError, match="no such file"):
        store.get("a")


@pytest.fixture
def agent_socket(tmp_path: Path) -> Path:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    return path


def test_ssh_sources(tmp_path: Path, agent_socket: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k")
    environ = {"SSH_AUTH_SOCK": str(agent_socket)}
    by_default = ClientSsh(["default"], environ).find("default")
    assert by_default is not None
    assert by_default.socket == agent_socket
    named = ClientSsh([f"deploy={key}", f"raw={agent_socket},raw=true"], environ)
    found = named.find("deploy")
    assert found is not None
    assert found.keys == (key,)
    raw = named.find("raw")
    assert raw is not None
    assert raw.raw
    assert named.find("default") is None


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["default"], "invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set"),
        (["a={s}", "a={s}"], 'duplicate agent ID "a"'),
        (["a={s},{s}"], "only single socket allowed"),
        (["a={k},{s}"], "invalid combination of keys and sockets"),
        (["a={k},raw=true"], "raw mode only supported with socket paths"),
        (["a={k},{k},raw=true"], 'raw mode must supply exactly one socket path for "a"'),
        (["a={s},raw=maybe"], "invalid value for 'raw': maybe: strconv.ParseBool: parsing \"maybe\": invalid syntax"),
        (["a=/no/such"], "stat /no/such: no such file or directory"),
    ],
)
def test_ssh_errors(tmp_path: Path, agent_socket: Path, texts: list[str], message: str) -> None:
    key = tmp_path / "key"
    key.write_text("k")
    with pytest.raises(UsageError) as caught:
        ClientSsh([text.format(s=agent_socket, k=key) for text in texts], {})
    assert caught.value.message == message


def test_a_pipe_keeps_nobody_waiting_unless_a_shell_hands_it_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    with pytest.raises(UsageError, match="not a regular file"):
        ClientSecrets([SecretFile("p", str(tmp_path / "p"))])
    with pytest.raises(UsageError, match="neither a key nor a socket"):
        ClientSsh([f"default={tmp_path}/p"])
    assert ClientSecrets([SecretFile("none", os.devnull)]).get("none") == b""
    reading, writing = os.pipe()
    os.write(writing, b"once")
    os.close(writing)
    store = ClientSecrets([SecretFile("piped", f"/dev/fd/{reading}")])
    assert [store.get("piped"), store.get("piped")] == [b"once", b"once"]  # as many steps as want it
    os.close(reading)


def test_a_key_that_a_shell_hands_over_is_held() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"key")
    os.close(writing)
    path = Path(f"/dev/fd/{reading}")
    source = ClientSsh([f"default={path}"]).find("default")
    os.close(reading)
    assert source is not None
    assert source.piped == {path: b"key"}
