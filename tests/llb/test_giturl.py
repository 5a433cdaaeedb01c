"""Git remotes are taken apart as BuildKit does; `tests/golden/llb/giturl.json` holds what it gave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dockc.errors import DockcError
from dockc.llb import giturl

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "llb" / "giturl.json").read_text())


@pytest.mark.parametrize("text", sorted(GOLDEN))
def test_parse(text):
    wanted = GOLDEN[text]
    if "error" in wanted:
        with pytest.raises(DockcError) as failed:
            giturl.parse(text)
        assert failed.value.message == wanted["error"]
        return
    url = giturl.parse(text)
    assert url.scheme == wanted["scheme"]
    assert url.host == wanted["host"]
    assert url.path == wanted["path"]
    assert url.remote == wanted["remote"]
    assert url.user == wanted.get("user", "")
    assert (url.ref, url.subdir) == (wanted.get("ref", ""), wanted.get("subdir", ""))
    query: dict[str, list[str]] = {}
    for key, value in url.query:
        query.setdefault(key, []).append(value)
    assert query == wanted.get("query", {})


def test_hosts_beyond_ascii_are_escaped_in_the_remote_only() -> None:
    from dockc.llb import giturl

    for text in ("https://güt.example/repo.git", "https://g%C3%BCt.example/repo.git"):
        found = giturl.parse(text)
        assert found.remote == "https://g%C3%BCt.example/repo.git"
        assert found.identifier == "güt.example/repo.git"
