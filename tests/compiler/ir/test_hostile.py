"""Definitions and IR text that were tampered with: an error of ours or a result, never a crash."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockc import llb
from dockc.compiler.decompile.llb import decompile
from dockc.compiler.emit import emit
from dockc.compiler.ir import from_llb
from dockc.compiler.ir.ops import FileOp, Mkfile
from dockc.compiler.ir.parser import parse_module
from dockc.compiler.ir.printer import print_module
from dockc.compiler.ir.verifier import verify
from dockc.compiler.passes import pipeline
from dockc.errors import CompileError, DockcError
from dockc.llb import ops, text
from dockc.llb.definition import Definition, OpMetadata
from dockc.llb.wire.encode import digest
from dockc.oci.platform import Platform
from tests.compiler.conftest import op_of

AMD64 = Platform("linux", "amd64")


def sample() -> Definition:
    file = llb.SourceMap("Dockerfile", b"FROM x\n\xff\n", "Dockerfile", llb.local("dockerfile", session="s"))
    at = [llb.Location(file, ((1, 0, 2, 3),))]
    context = llb.local("context", follow=["a", "b"], session="s")
    state = llb.image("alpine", name="base", at=at).env("A", "1").user("u")
    state = state.run("x", "y", mounts=[llb.cache("/c", "id"), llb.mount("/m", context, readonly=True)], at=at)
    state = state.file(llb.copy(context, "/a", "/b", owner="u:5", mode="u+x"), llb.mkdir("/d", owner="r"))
    linked = llb.scratch().file(llb.mkfile("/f", b"\0data", 0o600))
    group = llb.ProgressGroup("g", "group", weak=True)
    return llb.merge(state, linked, progress_group=group, platform="linux/arm64").marshal()


SAMPLE = sample()


def tampered(seed: int) -> bytes:
    """The sample with a few bytes of one or more operations changed, and the digests that name them."""
    chance = random.Random(seed)
    renamed: dict[bytes, bytes] = {}
    made = []
    victim = chance.randrange(len(SAMPLE.ops))
    for at, (name, data) in enumerate(SAMPLE.ops):
        for old, new in renamed.items():
            data = data.replace(old, new)
        if at == victim:
            changed = bytearray(data)
            for _ in range(chance.randint(1, 3)):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
            data = bytes(changed)
        renamed[name.encode()] = digest(data).encode()
        made.append((digest(data), data))
    said = {renamed[k.encode()].decode(): v for k, v in SAMPLE.metadata.items()}
    return Definition(made, said, SAMPLE.source).to_bytes()


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32))
def test_tampered_definitions(seed: int) -> None:
    try:
        definition = Definition.parse(tampered(seed))
    except DockcError:
        return
    text.tree(definition)
    text.json_lines(definition)
    text.dot(definition)
    llb.from_definition(definition).marshal()
    try:
        module = from_llb.load(definition, AMD64)
    except CompileError:
        return
    printed = print_module(module)
    assert print_module(parse_module(printed)) == printed
    decompile(definition, platform=AMD64)
    try:
        emit(pipeline(2, squash=3).run(module))
    except DockcError:
        return


TEXT = print_module(from_llb.load(SAMPLE, AMD64))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(TEXT) - 1), st.sampled_from('{}"%@=0 \n\\x§-.:')), max_size=5))
def test_tampered_text(changes: list[tuple[int, str]]) -> None:
    letters = list(TEXT)
    for at, letter in changes:
        letters[at] = letter
    try:
        module = parse_module("".join(letters))
        verify(module)
    except CompileError:
        return
    printed = print_module(module)
    assert print_module(parse_module(printed)) == printed


@pytest.mark.parametrize("line", ["x=1", "a=1 {", "  name=3", "%0 = merge %1.99999999999", '"', "{", "%0 ="])
def test_odd_lines(line: str) -> None:
    with pytest.raises(CompileError):
        parse_module(f"platform linux/amd64\n{line}\n")


def test_escapes_of_data() -> None:
    text = 'platform linux/amd64\n%0 = file scratch {{\n  mkfile "/f" 0644 "{}"\n}}\nresult %0\n'
    module = parse_module(text.format(r"\x00\x41\xff\u00e9"))
    (made,) = op_of(module.result, FileOp).actions
    assert isinstance(made, Mkfile)
    assert made.data == b"\0A\xff\xc3\xa9"
    assert print_module(parse_module(print_module(module))) == print_module(module)
    with pytest.raises(CompileError, match="line 3: the text holds half of a pair of surrogates"):
        parse_module(text.format(r"\ud800"))


def test_odd_words_are_quoted() -> None:
    source = ops.Op(op=ops.SourceOp("x://y"), platform=Platform("/inux", "", "v"), filters=("a b",))
    name = digest(source.encode())
    end = ops.Op((ops.Input(name),)).encode()
    said = {name: OpMetadata(caps={"a b": True, "§": True})}
    module = from_llb.load(Definition([(name, source.encode()), (digest(end), end)], said), AMD64)
    printed = print_module(module)
    assert '  platform "/inux" "" "v"\n' in printed
    assert '  caps "a b" "§"\n' in printed
    assert print_module(parse_module(printed)) == printed


def test_attributes_that_are_no_lists_are_left_alone() -> None:
    module = parse_module(
        'platform linux/amd64\n%0 = source "local://c" {\n  attr "local.followpaths" "[oops"\n}\n'
        '%1 = file scratch {\n  copy %0 "/a" "/a"\n}\nresult %1\n'
    )
    passes = pipeline(passes="narrow-context")
    assert print_module(passes.run(module)) == print_module(module)
