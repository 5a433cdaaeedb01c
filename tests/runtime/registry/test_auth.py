"""Challenges, token servers, Docker's configuration file and credential helpers."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.errors import RegistryError
from dockc.oci.fields import InvalidDocument
from dockc.oci.reference import parse_normalized
from dockc.runtime.content.store import ContentStore
from dockc.runtime.registry import challenge
from dockc.runtime.registry.challenge import Challenge
from dockc.runtime.registry.client import AccessDenied, Client
from dockc.runtime.registry.credentials import DockerConfig
from dockc.runtime.registry.hosts import Host, HostsConfig, RegistrySettings
from dockc.runtime.session.auth import ANONYMOUS, Credentials
from tests.runtime.registry.conftest import FAST
from tests.runtime.registry_servers import Answer, Script, Seen, TokenServer


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            ['Bearer realm="https://a/t",service="s",scope="repository:x:pull,push"'],
            [Challenge("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:x:pull,push"})],
        ),
        (['basic REALM = "a \\"b\\""'], [Challenge("basic", {"realm": 'a "b"'})]),
        (
            ['Negotiate, Basic realm=x, Bearer realm="y"'],
            [Challenge("negotiate"), Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y"})],
        ),
        (
            ["Basic realm=x", "Bearer realm=y"],
            [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y"})],
        ),
        (["", "=", '"'], []),
    ],
)
def test_challenges(lines: list[str], expected: list[Challenge]) -> None:
    assert list(challenge.parse(lines)) == expected


@given(st.text(max_size=200))
def test_challenges_never_crash(line: str) -> None:
    challenge.parse([line])


@pytest.mark.timeout(60)
def test_long_challenges_come_to_an_end() -> None:
    for line in ("a" * 100_000, 'a="' + "\\" * 100_000, "a=b," * 50_000, " " * 100_000, "a " * 50_000):
        challenge.parse([line])


def test_anonymous_token_is_asked_for_once(client: Client, source: ContentStore) -> None:
    tokens = TokenServer(source)
    with tokens.script as server:
        ref = parse_normalized(f"{server.address}/a/b")
        for _ in range(3):
            assert client.resolve(ref).digest == tokens.image.root.digest
        asked = [seen for seen in server.seen if seen.path == "/token"]
    assert [parse_qs(seen.query) for seen in asked] == [{"scope": ["repository:a/b:pull"], "service": ["tests"]}]


def test_token_that_is_refused_is_renewed(client: Client, source: ContentStore) -> None:
    tokens = TokenServer(source)
    with tokens.script as server:
        ref = parse_normalized(f"{server.address}/a")
        client.resolve(ref)
        tokens.valid.clear()
        assert client.resolve(ref).digest == tokens.image.root.digest
    assert tokens.given == 2


def test_token_with_a_password(source: ContentStore) -> None:
    tokens = TokenServer(source, user="bo:pw")
    with tokens.script as server:
        ref = parse_normalized(f"{server.address}/a")
        client = Client(config=DockerConfig({server.address: Credentials("bo", "pw")}), limits=FAST)
        assert client.resolve(ref).digest == tokens.image.root.digest
        assert "account=bo" in next(seen.query for seen in server.seen if seen.path == "/token")
        client.close()
        wrong = Client(config=DockerConfig({server.address: Credentials("bo", "x")}), limits=FAST)
        with pytest.raises(RegistryError, match="user 'bo' refused"):
            wrong.resolve(ref)
        wrong.close()


def test_identity_token(source: ContentStore) -> None:
    tokens = TokenServer(source, user="refresh-me")
    with tokens.script as server:
        config = DockerConfig({server.address: Credentials(identity_token="refresh-me")})
        client = Client(config=config, limits=FAST)
        client.resolve(parse_normalized(f"{server.address}/a"))
        client.close()
        form = parse_qs(next(seen.body for seen in server.seen if seen.method == "POST").decode())
    assert form["grant_type"] == ["refresh_token"] and form["scope"] == ["repository:a:pull"]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Answer(200, b"{"), "token answer: not valid JSON"),
        (Answer(200, b"{}"), "answer holds no token"),
        (Answer(200, json.dumps({"token": "a\r\nX: y"}).encode()), "answer holds no token"),
        (Answer(200, b"x" * (2 << 20)), "larger than 1048576 bytes"),
        (Answer(403), "anonymous access refused"),
        (Answer(418), "unexpected status 418"),
    ],
)
def test_broken_token_server(client: Client, reply: Answer, message: str) -> None:
    def answer(seen: Seen) -> Answer:
        if seen.path == "/token":
            return reply
        return Answer(401, headers={"WWW-Authenticate": f'Bearer realm="{server.url}/token"'})

    with Script(answer) as server, pytest.raises(RegistryError) as caught:
        client.resolve(parse_normalized(f"{server.address}/a"))
    assert message in caught.value.message


@pytest.mark.parametrize("realm", ["file:///etc/passwd", "gopher://x", "//x", "x"])
def test_token_server_must_be_a_web_address(client: Client, realm: str) -> None:
    with Script(lambda _: Answer(401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})) as server:
        ref = parse_normalized(f"{server.address}/a")
        with pytest.raises(RegistryError, match="no web address"):
            client.resolve(ref)


def test_server_that_is_never_satisfied(client: Client) -> None:
    def answer(seen: Seen) -> Answer:
        if seen.path == "/token":
            return Answer(200, b'{"token":"x"}')
        return Answer(401, headers={"WWW-Authenticate": f'Bearer realm="{server.url}/token"'})

    with Script(answer) as server:
        with pytest.raises(AccessDenied):
            client.manifest(parse_normalized(f"{server.address}/a"))
        assert len(server.seen) < 10


def test_push_asks_for_both_actions(client: Client, source: ContentStore) -> None:
    tokens = TokenServer(source)
    with tokens.script as server:
        ref = parse_normalized(f"{server.address}/p")
        assert not client.has_blob(ref, "sha256:" + "0" * 64)
        asked = next(seen for seen in server.seen if seen.path == "/token")
    assert parse_qs(asked.query)["scope"] == ["repository:p:pull,push"]


# --- config.json --------------------------------------------------------------------------------------


def auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_config_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "auths": {
                    "https://index.docker.io/v1/": {"auth": auth("hub:pw:with:colons")},
                    "https://old.example/v2/": {"auth": auth("old:x")},
                    "localhost:5000": {"username": "u", "password": "p"},
                    "tok.example": {"auth": auth("a:"), "identitytoken": "id"},
                    "raw.example": {"registrytoken": "reg"},
                    "empty.example": {},
                },
                "credHelpers": {},
                "unknown": {"x": 1},
            }
        )
    )
    config = DockerConfig.load({"DOCKER_CONFIG": str(tmp_path)})
    assert config.credentials("docker.io") == Credentials("hub", "pw:with:colons")
    assert config.credentials("old.example") == Credentials("old", "x")
    assert config.credentials("localhost:5000") == Credentials("u", "p")
    assert config.credentials("localhost") == ANONYMOUS
    assert config.credentials("tok.example").identity_token == "id"
    assert config.credentials("raw.example").registry_token == "reg"
    assert not config.credentials("empty.example")
    assert "pw" not in repr(config.credentials("docker.io"))


def test_no_config_file(tmp_path: Path) -> None:
    assert DockerConfig.load({"HOME": str(tmp_path)}).credentials("x") == ANONYMOUS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "config: not valid JSON"),
        ("[]", "config: expected an object"),
        ('{"auths": {"x": {"auth": "!"}}}', "config: auths: x: auth: not valid base64"),
        ('{"auths": {"x": {"auth": "eHg="}}}', "config: auths: x: auth: expected user:password"),
        ('{"auths": {"x": 1}}', "config: auths: x: expected an object"),
    ],
)
def test_broken_config_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RegistryError) as caught:
        DockerConfig.load({"DOCKER_CONFIG": str(tmp_path)})
    assert message in caught.value.message
    with pytest.raises(InvalidDocument):
        DockerConfig.parse(text.encode())


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in {
        "good": 'read s; echo "$s" >> "$(dirname "$0")/asked"; echo "{\\"Username\\":\\"h\\",\\"Secret\\":\\"$s\\"}"',
        "token": 'echo "{\\"Username\\":\\"<token>\\",\\"Secret\\":\\"idt\\"}"',
        "none": "echo credentials not found in native keychain; exit 1",
        "broken": "echo locked >&2; exit 3",
        "garbage": "echo hello",
    }.items():
        path = folder / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_credential_helpers(helpers: Path) -> None:
    config = DockerConfig(
        {"c.example": Credentials("file", "pw")},
        store="good",
        helpers={"b.example": "token", "c.example": "none"},
    )
    assert config.credentials("a.example") == Credentials("h", "a.example")
    assert config.credentials("a.example") == Credentials("h", "a.example")
    assert (helpers / "asked").read_text() == "a.example\n"
    assert config.credentials("b.example") == Credentials(identity_token="idt")
    assert config.credentials("c.example") == Credentials("file", "pw")
    assert config.credentials("docker.io") == Credentials("h", "https://index.docker.io/v1/")


@pytest.mark.parametrize(
    ("helper", "message"),
    [
        ("missing", "docker-credential-missing: not found in PATH"),
        ("broken", "docker-credential-broken failed: locked"),
        ("garbage", "docker-credential-garbage: answer: not valid JSON"),
        ("../../bin/sh", "not a program name"),
    ],
)
def test_failing_helpers(helpers: Path, helper: str, message: str) -> None:
    with pytest.raises(RegistryError) as caught:
        DockerConfig(store=helper).credentials("x.example")
    assert message in caught.value.message


# --- hosts --------------------------------------------------------------------------------------------


def test_hosts() -> None:
    def bases(name: str, config: HostsConfig | None = None, *, insecure: bool = False) -> list[str]:
        return [host.base for host in (config or HostsConfig()).hosts(name, insecure=insecure)]

    assert bases("docker.io") == ["https://registry-1.docker.io"]
    assert bases("localhost:5000") == ["http://localhost:5000"]
    assert bases("127.5.5.5") == ["http://127.5.5.5"]
    assert bases("[::1]:5000") == ["http://[::1]:5000"]
    assert bases("quay.io", insecure=True) == ["https://quay.io", "http://quay.io"]
    assert bases("127.0.0.1:5000", insecure=True) == ["https://127.0.0.1:5000", "http://127.0.0.1:5000"]
    config = HostsConfig.from_mapping(
        {
            "docker.io": {"mirrors": ["mirror.example/"]},
            "mirror.example": {"http": True},
            "localhost:5000": {"http": False},
        }
    )
    assert bases("docker.io", config) == ["http://mirror.example", "https://registry-1.docker.io"]
    assert config.hosts("docker.io")[0] == Host("mirror.example", "http", mirror=True, name="mirror.example")
    assert bases("localhost:5000", config) == ["https://localhost:5000"]
    assert HostsConfig({"x": RegistrySettings(insecure=True)}).origin("x")[0].trust.verify is False


@pytest.mark.parametrize("table", [1, {"htp": True}, {"http": "yes"}, {"mirrors": "x"}, {"ca": 1}])
def test_bad_hosts_settings(table: object) -> None:
    from dockc.errors import UsageError

    with pytest.raises(UsageError, match="registry r"):
        HostsConfig.from_mapping({"r": table})
