"""Rules over sources: what they say, and that nothing is used that they do not allow."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dockc import llb
from dockc.engine.bridge import Bridge, Result
from dockc.engine.dockerfile import dockerfile
from dockc.engine.engine import Engine, EngineOptions
from dockc.engine.gateway import resolve_meta
from dockc.engine.policy import ALLOW, CONVERT, DENY, EXACT, REGEX, Denied, Policy, Rule, judged
from dockc.engine.request import BuildRequest
from dockc.engine.world import normal
from dockc.errors import DockcError
from dockc.llb.rewrite import sources_of, with_sources
from dockc.oci.platform import Platform
from dockc.rpc.pb import common_pb2, gateway_pb2
from dockc.runtime.exporter.options import make_output
from dockc.runtime.session.base import Session
from dockc.runtime.session.files import HeldFiles
from tests.tools import need_root

IMAGE = "docker-image://docker.io/library/busybox:1.0"


def by(*rules: Rule, attrs: Mapping[str, str] | None = None, identifier: str = IMAGE) -> tuple[str, dict[str, str]]:
    return judged([Policy(rules)], identifier, attrs or {})


def test_rules_in_order() -> None:
    allow, deny = Rule(action=ALLOW, identifier=IMAGE), Rule(action=DENY, identifier="docker-image://*")
    assert by(deny, allow) == (IMAGE, {})
    with pytest.raises(Denied, match="denied by policy"):
        by(allow, deny)
    # Of several policies none may forbid it.
    with pytest.raises(Denied):
        judged([Policy((allow,)), Policy((deny,))], IMAGE, {})
    assert by(Rule(action=DENY, identifier="docker-image://*", match=EXACT)) == (IMAGE, {})


@pytest.mark.parametrize(
    ("rule", "becomes"),
    [
        (Rule(action=CONVERT, identifier="docker-image://*:1.0", becomes="docker-image://$1:2.0", attrs={}), "docker-image://docker.io/library/busybox:2.0"),
        (Rule(action=CONVERT, identifier="docker-image://*/*", becomes="x://${2}/$9$$", attrs={}), "x://busybox:1.0/$"),
        (Rule(action=CONVERT, identifier=r"(bus)y(?P<last>b.x)", match=REGEX, becomes="${last}-$1", attrs={}), "docker-image://docker.io/library/box-bus:1.0"),
        (Rule(action=CONVERT, identifier=IMAGE, match=EXACT, becomes="https://x/$1", attrs={}), "https://x/$1"),
        (Rule(action=CONVERT, identifier="docker-image://other", becomes="x", attrs={}), IMAGE),
    ],
)  # fmt: skip
def test_conversions(rule: Rule, becomes: str) -> None:
    assert by(rule) == (becomes, {})


def test_constraints_and_attributes() -> None:
    pin = Rule(action=CONVERT, identifier=IMAGE, constraints=(("a", "1", "EQUAL"),), attrs={"b": "2"})
    assert by(pin, attrs={"a": "1"}) == (IMAGE, {"a": "1", "b": "2"})
    assert by(pin, attrs={"a": "2"}) == (IMAGE, {"a": "2"})
    for condition, value, denied in (("NOTEQUAL", "1", False), ("NOTEQUAL", "2", True), ("MATCHES", "^1", True), ("MATCHES", "3", False)):
        rule = Rule(action=DENY, identifier=IMAGE, constraints=(("a", value, condition),))
        if denied:
            with pytest.raises(Denied):
                by(rule, attrs={"a": "1"})
        else:
            assert by(rule, attrs={"a": "1"}) == (IMAGE, {"a": "1"})


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Rule(action="9000", identifier=IMAGE), "unknown type"),
        (Rule(action=CONVERT, identifier=IMAGE), "missing destination for convert rule"),
        (Rule(action=DENY, identifier="a**b"), "invalid wildcard"),
        (Rule(action=DENY, identifier="(", match=REGEX), "invalid regex"),
        (Rule(action=DENY, identifier="x", match="7"), "unknown match type"),
        (Rule(action=DENY, identifier=IMAGE, constraints=(("a", "", "7"),)), "unknown attr condition"),
        (Rule(action=CONVERT, identifier="docker-image://*", becomes="docker-image://x$1", attrs={}), "too many"),
    ],
)
def test_rules_that_make_no_sense(rule: Rule, words: str) -> None:
    with pytest.raises(DockcError, match=words):
        by(rule)


@pytest.mark.parametrize(
    "rule",
    [
        Rule(action=DENY, identifier="(a|a|aa)*(a+)+$(a*)*!", match=REGEX),
        Rule(action=CONVERT, identifier="((a*)*)*!", match=REGEX, becomes="$1", attrs={}),
        Rule(action=DENY, identifier="*a" * 40 + "!"),
        Rule(action=DENY, identifier="x", constraints=(("k", "(a|aa)+!", "MATCHES"),)),
    ],
)
def test_hostile_rules_take_no_longer_than_others(rule: Rule) -> None:
    source = "docker-image://" + "a" * 1000
    assert judged([Policy((rule,))], source, {"k": "a" * 1000}) == (source, {"k": "a" * 1000})


def test_conversions_do_not_grow_without_end() -> None:
    with pytest.raises(DockcError, match="makes an identifier of"):
        by(Rule(action=CONVERT, identifier="docker-image://*", becomes="docker-image://" + "$1" * 100, attrs={}))


def test_a_graph_with_other_sources() -> None:
    first, second = llb.image("a").file(llb.mkdir("/x")), llb.image("b")
    graph = llb.merge(first, second).marshal()
    changed = {digest: ("docker-image://c", {"k": "v"}) for digest, op in sources_of(graph) if "/a:" in op.source.identifier}
    assert len(changed) == 1
    other = with_sources(graph, changed)
    assert sorted(op.source.identifier for _, op in sources_of(other)) == ["docker-image://c", "docker-image://docker.io/library/b:latest"]
    again = type(other).parse(other.to_bytes())
    assert (again.head, len(again.ops), set(again.metadata)) == (other.head, len(graph.ops), set(other.metadata))
    assert with_sources(graph, {}).to_bytes() == graph.to_bytes()


def test_a_build_uses_what_the_rules_say_and_asks_the_client(tmp_path: Path) -> None:
    need_root()
    seen: list[str] = []

    async def check(_: Any, identifier: str, attrs: Mapping[str, str], platform: Platform | None) -> tuple[str, Mapping[str, str]] | None:
        seen.append(identifier)
        if identifier == "local://second":
            return "local://third", attrs
        if identifier == "local://secret":
            raise DockcError("not for you")
        return None

    directories = {name: HeldFiles({"name": name.encode()}) for name in ("first", "second", "third")}
    session = Session(directories=directories, policy=check)
    output = make_output("local", str(tmp_path / "out"), {})
    rule = Rule(action=CONVERT, identifier="local://first", becomes="local://second", attrs={})
    request = BuildRequest(outputs=(output,), policies=(Policy((rule,)),))

    async def main(name: str) -> None:
        async def frontend(bridge: Bridge) -> Result:
            return await bridge.solve(llb.local(name).marshal())

        async with asyncio.timeout(100), Engine(EngineOptions(root=tmp_path / "store")) as engine:
            await engine.run(frontend, request, session, lambda status: None)

    asyncio.run(main("first"))
    assert (tmp_path / "out" / "name").read_text() == "third"
    assert seen == ["local://second", "local://third"]
    with pytest.raises(DockcError, match="not for you"):
        asyncio.run(main("secret"))


REPOSITORY = "git://github.com/user/repo.git#main:absolute/path"


@pytest.mark.parametrize(
    ("identifier", "full", "known"),
    [
        ("git://github.com/user/repo.git#main:../absolute/path", "", REPOSITORY),
        ("git://github.com/user/./x/../repo.git#main:/absolute//path/", "", REPOSITORY),
        ("git://user:hunter2@github.com/user/repo.git#main:absolute/path", "", REPOSITORY),
        ("git://ssh://git@github.com/user/repo.git#main:absolute/path", "", REPOSITORY),
        ("git://allowed.example/x#main:absolute/path", "git@github.com:user/repo.git", REPOSITORY),
        ("git://allowed.example/x#main:absolute/path", "github.com/user/repo.git#other:b", REPOSITORY),
        ("git://github.com/user/repo.git", "", "git://github.com/user/repo.git"),
        ("git://github.com/user/repo.git#:sub", "", "git://github.com/user/repo.git#:sub"),
        ("git://github.com/user/repo.git#v1", "https://other.example/repo", "git://other.example/repo#v1"),
        ("git://h/%zz", "", "git://h/%zz"),
        ("docker-image://alpine", "", "docker-image://docker.io/library/alpine:latest"),
        ("local://x/../y", "", "local://x/../y"),
    ],
)
def test_a_source_is_known_by_one_identifier_however_it_is_spelt(tmp_path: Path, identifier: str, full: str, known: str) -> None:
    attrs = {"git.fullurl": full} if full else {}
    assert normal(identifier, attrs) == known
    assert normal(known, {}) == known
    policy = Policy((Rule(action=DENY, identifier=known, match=EXACT),))
    request = BuildRequest(outputs=(make_output("cacheonly", "", {}),), policies=(policy,))

    async def frontend(bridge: Bridge) -> Result:
        with pytest.raises(Denied):
            await bridge.resolve_source_meta(identifier, attrs)
        with pytest.raises(Denied):
            await bridge.judge(identifier, attrs)
        return Result({"": None})

    async def build() -> None:
        async with asyncio.timeout(100), Engine(EngineOptions(root=tmp_path / "store")) as engine:
            await engine.run(frontend, request, Session(), lambda status: None)

    if not known.startswith("local:"):
        need_root()
        asyncio.run(build())


def test_what_a_signature_over_a_download_signs_is_known_before_the_rules_allow_it(tmp_path: Path) -> None:
    need_root()
    payload = os.urandom(300_000)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Disposition", 'attachment; filename="dir/the file"')
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: Any) -> None:
            pass

    found: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/x?y"
        policy = Policy((Rule(action=DENY, identifier="*"),))
        request = BuildRequest(outputs=(make_output("cacheonly", "", {}),), policies=(policy,))

        async def frontend(bridge: Bridge) -> Result:
            meta = gateway_pb2.ResolveSourceMetaRequest(Source=common_pb2.SourceOp(identifier=url))
            meta.HTTP.ChecksumRequest.Algo = gateway_pb2.ChecksumRequest.CHECKSUM_ALGO_SHA384
            meta.HTTP.ChecksumRequest.Suffix = b"\x04\xff"
            answer = await resolve_meta(bridge, meta, judge=False)
            found.append(answer.HTTP.ChecksumResponse.Digest)
            assert answer.HTTP.ChecksumResponse.Suffix == b"\x04\xff"
            with pytest.raises(Denied):
                await bridge.solve(llb.http(url).marshal())
            return Result({"": None})

        async def build() -> None:
            async with asyncio.timeout(100), Engine(EngineOptions(root=tmp_path / "store")) as engine:
                await engine.run(frontend, request, Session(), lambda status: None)

        asyncio.run(build())
        server.shutdown()
    assert found == [f"sha384:{hashlib.sha384(payload + bytes((4, 255))).hexdigest()}"]


@pytest.mark.parametrize("becomes", ["local://test", "docker-image://docker.io/library/busybox:1.0"])
def test_a_dockerfile_reads_from_what_the_rules_put_in_the_place_of_an_image(tmp_path: Path, becomes: str) -> None:
    need_root()
    main = {"Dockerfile": b"FROM scratch AS replace\nFROM scratch\nCOPY --from=replace /foo /\n"}
    directories = {"context": HeldFiles(main), "dockerfile": HeldFiles(main), "test": HeldFiles({"foo": b"instead"})}
    rules = (
        Rule(action=CONVERT, identifier="docker-image://docker.io/library/alpine:latest", becomes=becomes, attrs={}),
        Rule(action=CONVERT, identifier=IMAGE, becomes="local://test", attrs={}),
    )
    output = make_output("local", str(tmp_path / "out"), {})
    attrs = {"context:replace": "docker-image:docker.io/library/alpine:latest"}
    request = BuildRequest(attrs=attrs, outputs=(output,), policies=(Policy(rules),))

    async def build() -> None:
        async with asyncio.timeout(100), Engine(EngineOptions(root=tmp_path / "store")) as engine:
            await engine.run(dockerfile, request, Session(directories=directories), lambda status: None)

    asyncio.run(build())
    assert (tmp_path / "out" / "foo").read_bytes() == b"instead"


@pytest.mark.parametrize(("rule", "says"), [
    (Rule(action=CONVERT, identifier="local://dockerfile", becomes="local://other", attrs={}), ""),
    (Rule(action=DENY, identifier="local://dockerfile"), 'source "local://dockerfile" denied by policy'),
])  # fmt: skip
def test_the_directory_of_the_dockerfile_is_judged_as_other_sources_are(tmp_path: Path, rule: Rule, says: str) -> None:
    need_root()
    text = b"FROM scratch\nCOPY %s /\n"
    directories = {
        "dockerfile": HeldFiles({"Dockerfile": text % b"one"}),
        "other": HeldFiles({"Dockerfile": text % b"two"}),
        "context": HeldFiles({"one": b"1", "two": b"2"}),
    }
    output = make_output("local", str(tmp_path / "out"), {})
    request = BuildRequest(outputs=(output,), policies=(Policy((rule,)),))

    async def build() -> None:
        async with asyncio.timeout(100), Engine(EngineOptions(root=tmp_path / "store")) as engine:
            await engine.run(dockerfile, request, Session(directories=directories), lambda status: None)

    if says:
        with pytest.raises(Denied, match=says):
            asyncio.run(build())
    else:
        asyncio.run(build())
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["two"]
