"""Git remotes are taken apart as BuildKit does; `tests/golden/llb/recorded/giturl` holds what it gave."""

from __future__ import annotations

import pytest

from dockc.errors import DockcError
from dockc.llb import giturl
from tests.golden.collect import recorded

GOLDEN = recorded("llb/recorded", "giturl")


@pytest.mark.parametrize("text", sorted(GOLDEN))
def test_parse(text: str) -> None:
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


@pytest.mark.parametrize(
    ("text", "remote", "identifier"),
    [
        ("https://h/r.git?", "https://h/r.git?", "h/r.git"),
        ("https://h/r.git??", "https://h/r.git", "h/r.git"),
        ("https://@h/r.git", "https://@h/r.git", "h/r.git"),
        ("https://[::1]:8/r.git", "https://[::1]:8/r.git", "[::1]:8/r.git"),
        ("ssh://[fe80::1%25e%20h]/r.git", "ssh://[fe80::1%25e%20h]/r.git", "[fe80::1%e h]/r.git"),
        ("ssh://a:b:22/r.git", "ssh://a:b:22/r.git", "a:b:22/r.git"),
        ("https://h%25/r.git#a\x7f", "https://h%25/r.git", "h%/r.git"),
    ],
)
def test_remotes_that_are_rarely_written(text: str, remote: str, identifier: str) -> None:
    found = giturl.parse(text)
    assert (found.remote, found.identifier) == (remote, identifier)


@pytest.mark.parametrize(
    "text",
    [
        *("https://a:b:22/r.git", "https://::1/r.git", "https://[v1.x]/r.git", "ssh://[1.2.3.4]/r.git", "git://[::1%25]/r.git"),
        *("git://a[::1]/r.git", "ssh://h%41/r.git", "ssh://[::1%25%2f]/r.git", "https://h/\x7fr.git"),
        *("git@h:r.git?a;b", "git@h:r.git?ref=%zz"),
    ],
)
def test_texts_that_are_no_remotes(text: str) -> None:
    assert giturl.parse_or_none(text) is None
