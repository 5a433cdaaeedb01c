"""Inputs that would hang or mislead a command."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from dockc.base.files import read_file
from dockc.errors import DockcError
from dockc.runtime.registry import auth


def test_a_pipe_in_the_place_of_a_dockerfile_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "Dockerfile")
    with pytest.raises(DockcError, match="is not a regular file"):
        read_file(tmp_path / "Dockerfile")
    with pytest.raises(DockcError, match="is a directory"):
        read_file(tmp_path)


def test_tokens_belong_to_the_registry_they_were_made_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from dockc.runtime.registry.challenge import Challenge
    from dockc.runtime.registry.hosts import Host
    from dockc.runtime.registry.transport import Transport
    from dockc.runtime.session.auth import Token

    authorizer = auth.Authorizer(Transport(), None)
    asked: list[str] = []

    def ask(transport: Transport, host: Host, *rest: object) -> Token:
        asked.append(host.base)
        return Token(f"token of {host.address}", 3600)

    monkeypatch.setattr(auth, "fetch_token", ask)
    wanted = Challenge("bearer", {"realm": "https://a.example/token", "service": "a"})
    hosts = [Host(address, "https", name=address) for address in ("a.example", "evil.example")]
    for host in hosts:
        authorizer._challenges[host.base] = wanted
    values = [authorizer._token(host, wanted, "repository:x:pull", threading.Event()) for host in hosts]
    assert values == ["token of a.example", "token of evil.example"]
    assert asked == [host.base for host in hosts]
