"""Web resources: names, owners, revalidation, checksums, authorization."""

from __future__ import annotations

import base64
import gzip
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.errors import DigestMismatch, DockcError, RegistryError, SolveError
from dockc.oci import digest as digests
from dockc.runtime.archive import compress
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.registry.client import Client
from dockc.runtime.session.secrets import SECRETS
from dockc.runtime.source import web
from dockc.runtime.source.found import FoundHttp
from dockc.runtime.source.http import HttpSource, parse_options, probe
from dockc.runtime.source.memory import Memory
from dockc.runtime.source.seen import SEEN
from dockc.runtime.source.seen import Seen as AlreadySeen
from tests.runtime.registry_servers import Answer, Script, Seen
from tests.runtime.source.conftest import Context, Secrets, files_of

DATE = "Tue, 02 Jan 2024 03:04:05 GMT"


def make(refs: RefManager, url: str, **attributes: str) -> HttpSource:
    return HttpSource(parse_options(url, {key.replace("_", "."): value for key, value in attributes.items()}), refs)


@pytest.mark.parametrize(
    ("url", "wanted", "disposition", "name"),
    [
        ("https://x/a/b.tar.gz?q=1#f", "", "", "b.tar.gz"),
        ("https://x/", "", "", "download"),
        ("https://x", "", "", "download"),
        ("https://x/a%20b", "", "", "a b"),
        ("https://x/a%2Fb", "", "", "b"),
        ("https://x/..", "", "", "download"),
        ("https://x/a", "my name", "", "my name"),
        ("https://x/a", "../../etc/passwd", "", "passwd"),
        ("https://x/a", "", 'attachment; filename="c.zip"', "c.zip"),
        ("https://x/a", "", "attachment; filename=../../c", "c"),
        ("https://x/a", "", "attachment; filename*=UTF-8''%e2%82%ac.txt", "\u20ac.txt"),
        ("https://x/a", "", 'attachment; filename="dir/"', "a"),
        ("https://x/a\x01", "", "", "download"),
    ],
)
def test_file_names(url: str, wanted: str, disposition: str, name: str) -> None:
    assert web.file_name(url, wanted, disposition) == name


@given(st.text(), st.text())
def test_names_never_leave_the_directory(wanted: str, disposition: str) -> None:
    for name in (
        web.safe_name(wanted),
        web.file_name("http://x/", "", disposition.replace("\n", "").replace("\r", "")),
    ):
        assert name and "/" not in name and name not in (".", "..") and "\0" not in name


def test_download(refs: RefManager, ctx: Context) -> None:
    with Script(lambda _: Answer(200, b"content", {"Last-Modified": DATE})) as server:
        source = make(refs, f"{server.url}/dir/file.txt", http_perm="0640")
        key = source.key(ctx)
        with source.snapshot(ctx) as ref, ref.mount() as root:
            status = (root / "file.txt").stat()
            assert (root / "file.txt").read_bytes() == b"content"
            assert stat.S_IMODE(status.st_mode) == 0o640
            assert status.st_mtime == 1704164645
        assert key.pin == digests.from_bytes(b"content")
        assert server.paths() == ["/dir/file.txt"]
        again = make(refs, f"{server.url}/dir/file.txt", http_perm="0600").key(ctx)
        assert again.key != key.key


def test_default_mode_and_time(refs: RefManager, ctx: Context) -> None:
    with Script(lambda _: Answer(200, b"x")) as server:
        ref = make(refs, f"{server.url}/f").snapshot(ctx)
    with ref, ref.mount() as root:
        status = (root / "f").stat()
        assert stat.S_IMODE(status.st_mode) == 0o600 and status.st_mtime == 0


@pytest.mark.root
def test_owner(refs: RefManager, ctx: Context) -> None:
    if os.geteuid() != 0:
        pytest.skip("changing owners needs root")
    with Script(lambda _: Answer(200, b"x")) as server:
        ref = make(refs, f"{server.url}/f", http_uid="12", http_gid="34").snapshot(ctx)
    with ref, ref.mount() as root:
        status = (root / "f").stat()
        assert (status.st_uid, status.st_gid) == (12, 34)


@pytest.mark.parametrize("weak", ["", "W/"])
def test_revalidation_by_entity_tag(refs: RefManager, ctx: Context, weak: str) -> None:
    content = {"tag": '"one"', "body": b"1"}

    def answer(seen: Seen) -> Answer:
        headers = {"ETag": f"{weak}{content['tag']}"}
        if seen.headers.get("if-none-match", "").find(str(content["tag"])) >= 0:
            return Answer(304, headers=headers)
        return Answer(200, content["body"], headers)  # type: ignore[arg-type]

    with Script(answer) as server:
        first = make(refs, f"{server.url}/f").key(ctx)
        source = make(refs, f"{server.url}/f")
        assert source.key(ctx).key == first.key
        with source.snapshot(ctx) as ref:
            assert files_of(refs, ref) == {"f": b"1"}
        assert [seen.method for seen in server.seen] == ["GET", "HEAD"]
        content.update(tag='"two"', body=b"2")
        changed = make(refs, f"{server.url}/f")
        assert changed.key(ctx).key != first.key
        with changed.snapshot(ctx) as ref:
            assert files_of(refs, ref) == {"f": b"2"}
        assert [seen.method for seen in server.seen] == ["GET", "HEAD", "HEAD", "GET"]


def test_server_without_head(refs: RefManager, ctx: Context) -> None:
    def answer(seen: Seen) -> Answer:
        if seen.method == "HEAD":
            return Answer(405)
        if "if-none-match" in seen.headers:
            return Answer(304)
        return Answer(200, b"1", {"ETag": '"x"'})

    with Script(answer) as server:
        first = make(refs, f"{server.url}/f").key(ctx)
        source = make(refs, f"{server.url}/f")
        assert source.key(ctx).key == first.key
        with source.snapshot(ctx) as ref:
            assert files_of(refs, ref) == {"f": b"1"}


def test_checksum_asks_nothing_before_it_is_needed(refs: RefManager, ctx: Context) -> None:
    good = digests.from_bytes(b"right")
    with Script(lambda _: Answer(200, b"right", {"ETag": '"x"'})) as server:
        source = make(refs, f"{server.url}/f", http_checksum=good)
        assert source.key(ctx).pin == good and not server.seen
        for _ in range(2):
            with make(refs, f"{server.url}/f", http_checksum=good).snapshot(ctx) as ref:
                assert files_of(refs, ref) == {"f": b"right"}
        assert len(server.seen) == 1
        wrong = make(refs, f"{server.url}/g", http_checksum=digests.from_bytes(b"wrong"))
        with pytest.raises(DigestMismatch) as caught:
            wrong.snapshot(ctx)
    assert caught.value.message == f"digest mismatch {good}: {digests.from_bytes(b'wrong')}"


def test_content_that_changes_in_between(refs: RefManager, ctx: Context) -> None:
    """Without a tag the copy made for the key is the one that is used."""
    with Script(lambda _: Answer(200, str(len(server.seen)).encode())) as server:
        source = make(refs, f"{server.url}/f")
        key = source.key(ctx)
        with source.snapshot(ctx) as ref:
            assert digests.from_bytes(files_of(refs, ref)["f"]) == key.pin


def test_bad_status(refs: RefManager, ctx: Context) -> None:
    with Script(lambda _: Answer(404)) as server:
        source = make(refs, f"{server.url}/f")
        with pytest.raises(RegistryError) as caught:
            source.key(ctx)
        assert caught.value.message == "invalid response status 404"


def test_authorization(refs: RefManager, ctx: Context) -> None:
    with Script(lambda _: Answer(200, b"x")) as server:
        ctx.values[SECRETS] = Secrets(**{"HTTP_AUTH_TOKEN_127.0.0.1": b"tok", "mine": b"Basic abc\n"})
        make(refs, f"{server.url}/a").key(ctx)
        make(refs, f"{server.url}/b", http_authheadersecret="mine", http_header_accept="text/x").key(ctx)
        assert [seen.headers.get("authorization") for seen in server.seen] == ["Bearer tok", "Basic abc"]
        assert server.seen[1].headers["accept"] == "text/x"
        missing = make(refs, f"{server.url}/c", http_authheadersecret="none")
        with pytest.raises(SolveError, match="failed to retrieve HTTP auth secret none: not found"):
            missing.key(ctx)


def test_redirects_do_not_carry_the_secret(refs: RefManager, ctx: Context) -> None:
    ctx.values[SECRETS] = Secrets(**{"HTTP_AUTH_TOKEN_127.0.0.1": b"tok"})
    with Script(lambda _: Answer(200, b"x")) as other:
        with Script(lambda _: Answer(302, headers={"Location": f"{other.url}/x"})) as server:
            make(refs, f"{server.url}/a").key(ctx)
        assert "authorization" not in other.seen[0].headers


@pytest.mark.parametrize(
    "attributes",
    [
        {"http.checksum": "sha256:x"},
        {"http.perm": "rwx"},
        {"http.perm": "99999999"},
        {"http.uid": "-1"},
        {"http.header.accept": "a\r\nb: c"},
        {"http.sig.signature": "x"},
    ],
)
def test_senseless_attributes(attributes: dict[str, str]) -> None:
    with pytest.raises(DockcError):
        parse_options("http://x/y", attributes)


def test_probe(client: Client, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, mtime in (("old", 1000), ("new", 1700000000)):
            entry = tarfile.TarInfo(name)
            entry.mtime = mtime
            archive.addfile(entry)
    packed = gzip.compress(buffer.getvalue())
    for body, archive_, newest in (
        (packed, True, "2023-11-14T22:13:20Z"),
        (buffer.getvalue(), True, "2023-11-14T22:13:20Z"),
        (b"FROM scratch\n", False, ""),
        (b"", False, ""),
        (gzip.compress(b"hello"), False, ""),
    ):
        with Script(lambda _, body=body: Answer(200, body, {"Last-Modified": DATE})) as server:  # type: ignore[misc]
            found = probe(f"{server.url}/x", "", client.transport, Memory(tmp_path))
            assert found == FoundHttp(digests.from_bytes(body), "2024-01-02T03:04:05Z", newest, archive_, "x")
            with pytest.raises(DigestMismatch):
                probe(f"{server.url}/x", "sha256:" + "0" * 64, client.transport, Memory(tmp_path))


@pytest.mark.parametrize(("login", "sent"), [("u:p%40s", "u:p@s"), ("only", "only:"), ("%C3%BC:%2F", "ü:/")])
def test_a_login_in_the_url_is_sent_and_goes_to_no_other_host(refs: RefManager, ctx: Context, login: str, sent: str) -> None:
    expected = "Basic " + base64.b64encode(sent.encode()).decode()
    with Script(lambda _: Answer(200, b"x")) as other:
        with Script(lambda _: Answer(302, headers={"Location": f"{other.url}/x"})) as server:
            url = server.url.replace("http://", f"http://{login}@")
            make(refs, f"{url}/a").key(ctx)
            assert server.seen[0].headers["authorization"] == expected
            assert server.paths() == ["/a"]
        assert "authorization" not in other.seen[0].headers


def test_a_secret_wins_over_the_url_s_login(refs: RefManager, ctx: Context) -> None:
    ctx.values[SECRETS] = Secrets(**{"HTTP_AUTH_TOKEN_127.0.0.1": b"tok"})
    with Script(lambda _: Answer(200, b"x")) as server:
        make(refs, server.url.replace("http://", "http://u:p@") + "/a").key(ctx)
        assert server.seen[0].headers["authorization"] == "Bearer tok"


def _bare_deflate(data: bytes) -> bytes:
    encoder = zlib.compressobj(wbits=-15)
    return encoder.compress(data) + encoder.flush()


ENCODED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": _bare_deflate,
    "zstd": lambda data: compress.compress_bytes(data, compress.Compression("zstd")),
    "gzip, deflate": lambda data: zlib.compress(gzip.compress(data)),
    "identity": bytes,
}


@pytest.mark.parametrize("coding", ENCODED)
@pytest.mark.parametrize("data", [b"plain\n", b"", bytes(3_000_000)], ids=["short", "empty", "long"])
def test_content_encodings_are_undone(refs: RefManager, ctx: Context, coding: str, data: bytes) -> None:
    body = ENCODED[coding](data)
    with Script(lambda _: Answer(200, body, {"Content-Encoding": coding})) as server:
        source = make(refs, f"{server.url}/f", http_checksum=digests.from_bytes(data))
        with source.snapshot(ctx) as ref, ref.mount() as root:
            assert (root / "f").read_bytes() == data
        assert server.seen[0].headers["accept-encoding"] == "gzip"
        assert "buildkit/v" in server.seen[0].headers["user-agent"]


@pytest.mark.parametrize(
    ("coding", "body", "message"),
    [
        ("br", b"x", "the answer's content encoding: 'br' is not known"),
        ("gzip", gzip.compress(b"content")[:-4], "unexpected end of gzip data"),
        ("zstd", gzip.compress(b"content"), "gzip data where zstd was said"),
        ("deflate", zlib.compress(b"content")[:-4], "unexpected end of deflate data"),
        ("deflate", b"\xff\xff\xff", "damaged deflate data"),
    ],
    ids=["unknown", "cut off", "another", "short", "damaged"],
)
def test_broken_content_encodings(refs: RefManager, ctx: Context, coding: str, body: bytes, message: str) -> None:
    with Script(lambda _: Answer(200, body, {"Content-Encoding": coding})) as server, pytest.raises(RegistryError, match=message):
        make(refs, f"{server.url}/f").key(ctx)


def test_an_answer_that_ends_early_says_so(refs: RefManager, ctx: Context) -> None:
    with Script(lambda _: Answer(200, b"12345" * 200, cut=5)) as server, pytest.raises(RegistryError) as caught:
        make(refs, f"{server.url}/f").key(ctx)
    assert caught.value.message.endswith("/f: unexpected end of the answer: 5 of 1000 bytes")


def test_not_modified_with_another_tag_is_asked_again(refs: RefManager, ctx: Context) -> None:
    def answer(seen: Seen) -> Answer:
        if seen.method == "HEAD":
            return Answer(405)
        if "if-none-match" in seen.headers:
            return Answer(304, headers={"ETag": '"other"'})
        return Answer(200, b"new", {"ETag": '"one"'})

    with Script(answer) as server:
        first = make(refs, f"{server.url}/f").key(ctx)
        assert make(refs, f"{server.url}/f").key(ctx).key == first.key
        assert [seen.method for seen in server.seen] == ["GET", "HEAD", "GET", "GET"]


def test_what_a_build_has_seen_does_not_change_while_it_runs(refs: RefManager, client: Client, ctx: Context, tmp_path: Path) -> None:
    bodies = [b"first", b"second"]

    def answer(seen: Seen) -> Answer:
        return Answer(200, bodies.pop(0), {"Last-Modified": DATE, "Content-Disposition": "attachment; filename=said"})

    with Script(answer) as server:
        told = AlreadySeen()
        ctx.values[SEEN] = told
        found = probe(f"{server.url}/x", "", client.transport, Memory(tmp_path), seen=told)
        assert found.filename == "said"
        for attributes, name in (({}, "said"), ({"http_perm": "0600"}, "said"), ({"http_filename": "mine"}, "mine")):
            source = make(refs, f"{server.url}/x", **attributes)
            assert source.key(ctx).pin == found.digest
            with source.snapshot(ctx) as ref:
                assert files_of(refs, ref) == {name: b"first"}
        assert len(server.seen) == 1
        told.close()
        # Another build asks anew.
        ctx.values[SEEN] = AlreadySeen()
        with make(refs, f"{server.url}/x").snapshot(ctx) as ref:
            assert files_of(refs, ref) == {"said": b"second"}


def test_a_download_is_held_from_its_key_to_its_use(refs: RefManager, ctx: Context) -> None:
    bodies = [b"first", b"second"]
    with Script(lambda _: Answer(200, bodies.pop(0))) as server:
        source = make(refs, f"{server.url}/x")
        source.key(ctx)
        refs.prune()
        with source.snapshot(ctx) as ref:
            assert files_of(refs, ref) == {"x": b"first"}


def test_an_answer_is_asked_for_once_and_a_failure_is_none() -> None:
    told, asked = AlreadySeen(), []

    def ask() -> str:
        asked.append(1)
        if len(asked) == 1:
            raise DockcError("not now")
        return "answer"

    with pytest.raises(DockcError):
        told.once("git", "q", ask)
    assert [told.once("git", "q", ask), told.once("git", "q", ask), len(asked)] == ["answer", "answer", 2]
