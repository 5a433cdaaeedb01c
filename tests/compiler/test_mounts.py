"""`--mount` values: defaults of each type, checks and their words."""

from __future__ import annotations

import pytest

from dockc.compiler.syntax.ast import Word
from dockc.compiler.syntax.mounts import Mount, parse_mount
from dockc.errors import CompileError
from dockc.grammar.source import Span


def same(word: Word) -> str:
    return word.text


def written(text: str) -> Word:
    return Word(text, Span(0, len(text)))


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("target=/x", Mount(target="/x")),
        ("type=bind,from=a,src=/s,dst=/d,rw", Mount(from_="a", source="/s", target="/d", readonly=False)),
        (
            "type=cache,id=i,target=/c,sharing=Locked,mode=0755,uid=1,gid=2",
            Mount("cache", "", "", "/c", False, 0, "i", "locked", False, None, 0o755, 1, 2),
        ),
        ("type=cache,ro", Mount("cache", readonly=True)),
        ("type=tmpfs,size=1m", Mount("tmpfs", readonly=False, size_limit=1 << 20)),
        ("type=secret,id=s,env=E,required", Mount("secret", cache_id="s", env="E", required=True)),
        ("type=ssh,required=false,env=", Mount("ssh", env="")),
        ("readwrite=false,destination=/y", Mount(target="/y", readonly=True)),
        ('"target=/a,b"', Mount(target="/a,b")),
        ("TYPE=CACHE", Mount("cache", readonly=False)),
    ],
)
def test_mounts(text: str, mount: Mount) -> None:
    assert parse_mount(written(text), same) == mount


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "failed to parse csv mounts: EOF"),
        ("type=cahe", 'unsupported mount type "cahe" (did you mean cache?)'),
        ("type=volume", 'unsupported mount type "volume"'),
        ("type=cache,sharing=shard", 'unsupported sharing value "shard" (did you mean shared?)'),
        ("tipe=cache", "unexpected key 'tipe' in 'tipe=cache' (did you mean type?)"),
        ("foo", "invalid field 'foo' must be a key=value pair"),
        ("ro=x", "invalid value for ro: x"),
        ("required", "unexpected key 'required' for mount type 'bind'"),
        ("type=cache,required=1", "unexpected key 'required' for mount type 'cache'"),
        ("size=1m", "unexpected key 'size' for mount type 'bind'"),
        ("type=tmpfs,size=x", "invalid value for size: x"),
        ("type=cache,mode=9", "invalid value 9 for mode"),
        ("type=cache,uid=-1", "invalid value -1 for uid"),
        ("mode=0755", 'mode not allowed for "bind" type mounts'),
        ("type=tmpfs,gid=1", 'gid not allowed for "tmpfs" type mounts'),
        ("type=secret,from=a", "secret mount should not have a from"),
        ("type=secret,sharing=locked", "secret mount should not define sharing"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,source=a,id=b", "both source and id can't be set"),
        ("sharing=locked", "invalid cache sharing set for bind mount"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        parse_mount(written(text), same)
    assert caught.value.message == message


def test_variables_wait_for_the_expander() -> None:
    text = "type=$T,target=$D,bogus"
    assert parse_mount(written(text), None) == Mount()
    assert parse_mount(written("type=$T,target=$D"), lambda word: {"$T": "cache", "$D": "/d"}[word.text]) == Mount(
        "cache", target="/d", readonly=False
    )
    with pytest.raises(CompileError, match="variable expansion"):
        parse_mount(written("from=$x"), None)
    assert parse_mount(written("from=x$"), None).from_ == "x$"
