"""What is fuzzed: each target takes any bytes and either succeeds or raises a `DockcError`; everything else is a bug."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from dockc.compiler.compile import Compiled, Front, compiling, linting, outlining, read, targets
from dockc.compiler.decompile.check import checked
from dockc.compiler.decompile.history import decompile_history
from dockc.compiler.decompile.llb import decompile
from dockc.compiler.diagnose import diagnose_all
from dockc.compiler.emit import emit
from dockc.compiler.format import format_file
from dockc.compiler.imagine import PLATFORM, made_up
from dockc.compiler.ir.parser import parse_module
from dockc.compiler.ir.printer import print_module
from dockc.compiler.ir.verifier import verify
from dockc.compiler.options import CompileOptions
from dockc.compiler.passes import pipeline
from dockc.compiler.passes.pipeline import verify_each
from dockc.compiler.questions import Answers, Memory, converse
from dockc.errors import CompileError, DockcError
from dockc.grammar import ignore
from dockc.grammar.cst import text
from dockc.grammar.parser import parse
from dockc.grammar.render import render_all
from dockc.grammar.source import Source
from dockc.linter.runner import lint_source
from dockc.llb.definition import Definition
from dockc.llb.text import dot, json_lines, tree
from dockc.oci.platform import normalize
from dockc.oci.platform import parse as parse_platform
from tests.fuzz.mutate import seeds

AMD64 = normalize(parse_platform(PLATFORM))
OPTIONS = CompileOptions(build_platforms=(AMD64,))


def _compiled(front: Front) -> None:
    compiled = converse(compiling(front, OPTIONS), made_up)
    assert compiled.definition.to_bytes() == compiled.definition.to_bytes()
    assert json.loads(compiled.image_json)


def fuzz_compile(data: bytes) -> None:
    """Text to LLB: lossless on the way, and every error has a message."""
    front = read(Source("Dockerfile", data))
    assert text(front.parsed.file) == front.source.text
    render_all(front.result.diagnostics, front.source)
    try:
        _compiled(front)
    except DockcError as error:
        assert error.message
        if isinstance(error, CompileError):
            _explained(error, front)
        raise


def _explained(error: CompileError, front: Front) -> None:
    """Every error can be shown: on words of the file, all errors behind it too."""

    def retry(rest: Front) -> CompileError | None:
        try:
            _compiled(rest)
        except CompileError as found:
            return found
        except DockcError:
            pass
        return None

    found = diagnose_all(error, front, retry)
    for diagnostic in found:
        assert 0 <= diagnostic.span.start <= diagnostic.span.end <= len(front.source.text)
    render_all(found, front.source)


def fuzz_requests(data: bytes) -> None:
    """The frontend's other requests: lint, outline, targets."""
    front = read(Source("Dockerfile", data))
    for conversation in (linting(front, OPTIONS), outlining(front, OPTIONS)):
        try:
            converse(conversation, made_up)
        except DockcError:
            pass
    targets(front)


def fuzz_lint(data: bytes) -> None:
    """All rules; a broken file gives findings too."""
    for finding in lint_source(Source("Dockerfile", data)).findings:
        assert finding.code and finding.message


def fuzz_format(data: bytes) -> None:
    """Formatting is idempotent whatever comes in."""
    once = format_file(parse(Source("Dockerfile", data)).file)
    assert format_file(parse(Source.from_text(once)).file) == once


def fuzz_llb(data: bytes) -> None:
    """A definition from anyone: refused, or printed in every form and written back."""
    definition = Definition.parse(data)
    printed = tree(definition), dot(definition), json_lines(definition)
    again = Definition.parse(definition.to_bytes())
    assert (tree(again), dot(again), json_lines(again)) == printed


def fuzz_ir(data: bytes) -> None:
    """IR text: refused, or a module that prints, reads back the same, and emits."""
    module = parse_module(data.decode("utf-8", "surrogateescape"))
    printed = print_module(module)
    assert print_module(parse_module(printed)) == printed
    emit(module)


def fuzz_passes(data: bytes) -> None:
    """IR text that is legal stays legal through every pass."""
    module = parse_module(data.decode("utf-8", "surrogateescape"))
    verify(module)
    for level, squash in ((1, 0), (2, 0), (2, 1), (0, 2), (2, 3)):
        emit(pipeline(level, squash=squash, observers=(verify_each(),)).run(module))


def fuzz_decompile(data: bytes) -> None:
    """A definition from anyone comes out as a Dockerfile that parses."""
    definition = Definition.parse(data)
    text_ = checked(decompile(definition, platform=AMD64), definition, AMD64)
    for diagnostic in parse(Source.from_text(text_)).diagnostics:
        raise AssertionError(diagnostic.message)


def fuzz_history(data: bytes) -> None:
    """So does any JSON that could be an image config."""
    try:
        image = json.loads(data)
    except (ValueError, RecursionError):
        return
    parse(Source.from_text(decompile_history(image)))


def fuzz_ignore(data: bytes) -> None:
    """.dockerignore: patterns that match, or an error."""
    matcher = ignore.matcher(data)
    for path in ("a", "a/b", "src/x/y.o", "é/\udcff", ".git"):
        matcher.matches(path)


def fuzz_answers(data: bytes) -> None:
    """Files of answers: refused, or written back the same."""
    answers = Answers.load(data.decode("utf-8", "surrogateescape"))
    again = Answers.load(answers.dump())
    assert again.dump() == answers.dump()


def _definitions() -> list[Compiled]:
    found = []
    for data in seeds():
        try:
            found.append(converse(compiling(Source("Dockerfile", data), OPTIONS), made_up))
        except DockcError:
            continue
    return found


def _llb_seeds() -> list[bytes]:
    return [c.definition.to_bytes() for c in _definitions()]


def _ir_seeds() -> list[bytes]:
    return [print_module(c.module).encode("utf-8", "surrogateescape") for c in _definitions()]


def _answer_seeds() -> list[bytes]:
    memory = Memory()
    for data in seeds():
        try:
            converse(memory.heard(compiling(Source("Dockerfile", data), OPTIONS, memory.answers)), made_up)
        except DockcError:
            continue
    return [memory.answers.dump().encode()]


def _image_seeds() -> list[bytes]:
    return [c.image_json for c in _definitions()]


IGNORE_SEEDS = [b"*\n!src/**\n# comment\n  a/../b \n[a-z]?.o\n/abs/\n\\!x\n", b"**/node_modules\n!**/*.md\n*.[!a]\n[\n"]

#: Name: what is run, and what makes the inputs to begin with.
TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "compile": (fuzz_compile, seeds),
    "requests": (fuzz_requests, seeds),
    "lint": (fuzz_lint, seeds),
    "format": (fuzz_format, seeds),
    "llb": (fuzz_llb, _llb_seeds),
    "ir": (fuzz_ir, _ir_seeds),
    "passes": (fuzz_passes, _ir_seeds),
    "decompile": (fuzz_decompile, _llb_seeds),
    "history": (fuzz_history, _image_seeds),
    "ignore": (fuzz_ignore, lambda: IGNORE_SEEDS),
    "answers": (fuzz_answers, _answer_seeds),
}


def random_source(seed: int) -> random.Random:
    """Mutations of one run; the same for the same seed."""
    return random.Random(seed)
