"""IR to LLB and back, IR to text and back: on every definition of the conformance suite, and on lowered files."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockc.compiler.compile import compiling
from dockc.compiler.emit import digest, emit
from dockc.compiler.ir import from_llb
from dockc.compiler.ir.module import Module, default_caps
from dockc.compiler.ir.parser import parse_module
from dockc.compiler.ir.printer import print_module
from dockc.compiler.ir.verifier import verify
from dockc.compiler.passes import pipeline
from dockc.compiler.passes.pipeline import verify_each
from dockc.errors import CompileError
from dockc.llb.definition import Definition
from dockc.oci.platform import Platform
from tests.conformance.llb.run import Case, Run, load
from tests.conformance.llb.world import compile_options

AMD64 = Platform("linux", "amd64")


@pytest.fixture(scope="module")
def definitions(shared: Path) -> dict[str, bytes]:
    """Every `definition.pb` beside this checkout (in ../shared)."""
    return {p.parent.name: p.read_bytes() for p in sorted(shared.glob("conformance/llb/*/*/definition.pb"))}


@pytest.fixture(scope="module")
def lowered(shared: Path) -> list[tuple[Case, Module]]:
    """The module of every case of the conformance suite (in ../shared) that compiles."""
    modules = []
    for case in load(shared / "conformance" / "llb"):
        if not case.expected["ok"]:
            continue
        run = Run(case)
        options = compile_options(case.options)
        modules.append((case, run.asking(compiling(run.front, options)).module))
    return modules


def test_llb_to_ir_and_back(definitions: dict[str, bytes]) -> None:
    for name, data in definitions.items():
        module = from_llb.load(Definition.parse(data), AMD64)
        verify(module)
        assert emit(module).to_bytes() == data, name


def test_text_and_back(definitions: dict[str, bytes]) -> None:
    for name, data in definitions.items():
        text = print_module(from_llb.load(Definition.parse(data), AMD64))
        module = parse_module(text)
        assert print_module(module) == text, name
        assert emit(module).to_bytes() == data, name


def test_default_caps_are_those_of_the_reference(definitions: dict[str, bytes]) -> None:
    for name, data in definitions.items():
        for op in from_llb.load(Definition.parse(data), AMD64).ops():
            assert set(op.caps) == set(default_caps(op)), name


def test_lowered_modules_are_legal_and_print(lowered: list[tuple[Case, Module]]) -> None:
    for case, module in lowered:
        verify(module)
        text = print_module(module)
        assert print_module(parse_module(text)) == text, case.name
        assert emit(parse_module(text)).to_bytes() == emit(module).to_bytes(), case.name


def test_default_passes_change_no_bytes(lowered: list[tuple[Case, Module]]) -> None:
    for case, module in lowered:
        for level in (0, 1):
            after = pipeline(level, observers=(verify_each(),)).run(module)
            assert emit(after).to_bytes() == emit(module).to_bytes(), case.name


def test_optimised_modules_are_legal_and_stay(lowered: list[tuple[Case, Module]]) -> None:
    passes = pipeline(2, observers=(verify_each(),))
    for case, module in lowered:
        after = passes.run(module)
        assert print_module(passes.run(after)) == print_module(after), case.name
        Definition.parse(emit(after).to_bytes())


def test_squashed_modules_are_legal(lowered: list[tuple[Case, Module]]) -> None:
    for level in (1, 2, 3):
        for _case, module in lowered:
            after = pipeline(1, squash=level, observers=(verify_each(),)).run(module)
            assert len(after.ops()) <= len(module.ops()) + 2
            Definition.parse(emit(after).to_bytes())


def test_digest_of_an_operation(definitions: dict[str, bytes]) -> None:
    module = from_llb.load(Definition.parse(definitions["runs-500"]), AMD64)
    names = Definition.parse(definitions["runs-500"]).digests
    assert module.result is not None
    assert digest(module.result.op) == names[-2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the module has no platform line"),
        ("platform linux/amd64\nresult %0\n", "line 2: value %0 is not defined above"),
        ("platform linux/amd64\n%0 = merge scratch\n", "line 2: scratch cannot stand here"),
        ("platform linux/amd64\n%0 = what\n", "line 2: unknown operation what"),
        ("platform linux\n", "line 1: expected os/architecture"),
        ('platform a/b\n%0 = source "x" {\n', "line 2: block is not closed"),
        ("platform a/b\n}\n", "line 2: no block to close"),
        ("platform a/b\n%0 = exec {\n  oops 1\n}\n", "line 3: exec has no line oops"),
        ('platform a/b\n%0 = file scratch {\n  mkdir "/x" 755\n}\n', "line 3: expected an octal mode, not 755"),
        ('platform a/b\n%0 = file scratch {\n  rm "/x" now\n}\n', "line 3: rm has no word now"),
        ('platform a/b\n%0 = file scratch {\n  rm "/x" at=1\n}\n', "line 3: rm has no key at"),
        ('platform a/b\n%0 = source "x" {\n  at @3 1:0-1:0\n}\n', "line 3: file @3 is not defined above"),
        ('platform a/b\n%0 = source "x"\n%0 = source "y"\n', "line 3: value %0 is defined twice"),
        ("platform a/b\n§\n", "line 2: cannot read"),
        ("platform a/b\nunknown\n", "line 2: unknown statement unknown"),
        ("platform a/b\n%0 = source x=\n", "line 2: x= needs a value"),
        ("platform a/b\n%0 = source bare\n", "line 2: expected quoted text, not bare"),
    ],
)
def test_broken_text(text: str, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        parse_module(text)


def test_forms_that_the_ir_has_not() -> None:
    from dockc.llb import ops
    from dockc.llb.wire.encode import digest as name

    build = ops.Op(op=ops.BuildOp(-1)).encode()
    end = ops.Op((ops.Input(name(build)),)).encode()
    definition = Definition([(name(build), build), (name(end), end)])
    with pytest.raises(CompileError, match="the IR has no form for BuildOp"):
        from_llb.load(definition, AMD64)
    branching = (
        ops.FileAction(-1, -1, 0, ops.Mkdir("/a", 0o755, timestamp=-1)),
        ops.FileAction(-1, -1, 0, ops.Mkdir("/b", 0o755, timestamp=-1)),
    )
    files = ops.Op(op=ops.FileOp(branching)).encode()
    end = ops.Op((ops.Input(name(files)),)).encode()
    with pytest.raises(CompileError, match="file actions that branch"):
        from_llb.load(Definition([(name(files), files), (name(end), end)]), AMD64)
