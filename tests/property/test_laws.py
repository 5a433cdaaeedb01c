"""Laws of the compiler, on generated Dockerfiles: printing loses nothing, IR and answers survive their text forms, formatting changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dockc
from dockc.compiler.compile import Compiled, compile, compiling, read
from dockc.compiler.emit import emit
from dockc.compiler.equivalence import products
from dockc.compiler.imagine import PLATFORM, made_up
from dockc.compiler.ir.parser import parse_module
from dockc.compiler.ir.printer import print_module
from dockc.compiler.options import CompileOptions
from dockc.compiler.questions import Answers, GitAnswer, HttpAnswer, ImageAnswer, Memory, converse
from dockc.errors import DockcError
from dockc.grammar.cst import text
from dockc.grammar.parser import parse
from dockc.grammar.source import Source
from dockc.line import main as line_main
from dockc.llb.definition import Definition
from dockc.oci.platform import normalize
from dockc.oci.platform import parse as parse_platform
from tests.fuzz.mutate import seeds
from tests.property.dockerfiles import dockerfiles

OPTIONS = CompileOptions(build_platforms=(normalize(parse_platform(PLATFORM)),))
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], max_examples=60)


def compiled(data: str) -> tuple[Compiled, Answers] | str:
    """What comes out with made-up answers, or the error's message."""
    memory = Memory()
    try:
        return converse(memory.heard(compiling(Source.from_text(data), OPTIONS)), made_up), memory.answers
    except DockcError as error:
        return error.message


def forms(data: str) -> object:
    """The bytes of everything that comes out."""
    done = compiled(data)
    if isinstance(done, str):
        return done
    return done[0].definition.to_bytes(), done[0].image_json, print_module(done[0].module)


@SLOW
@given(dockerfiles())
def test_what_the_tree_prints_compiles_the_same(data: str) -> None:
    front = read(Source.from_text(data))
    printed = text(front.parsed.file)
    assert printed == data
    assert forms(printed) == forms(data)
    assert products(read(Source.from_text(printed))) == products(front)


@SLOW
@given(dockerfiles())
def test_formatting_changes_no_product(data: str) -> None:
    formatted = dockc.format(data)
    assert dockc.format(formatted) == formatted
    assert products(read(Source.from_text(formatted))) == products(read(Source.from_text(data)))


@SLOW
@given(dockerfiles())
def test_ir_text_round_trip(data: str) -> None:
    done = compiled(data)
    if isinstance(done, str):
        return
    module = done[0].module
    printed = print_module(module)
    again = parse_module(printed)
    assert print_module(again) == printed
    assert emit(again).to_bytes() == done[0].definition.to_bytes()


@SLOW
@given(dockerfiles())
def test_definition_round_trip(data: str) -> None:
    done = compiled(data)
    if isinstance(done, str):
        return
    wire = done[0].definition.to_bytes()
    assert Definition.parse(wire).to_bytes() == wire


@SLOW
@given(dockerfiles())
def test_answers_of_a_file_round_trip(data: str) -> None:
    done = compiled(data)
    if isinstance(done, str):
        return
    dumped = done[1].dump()
    again = Answers.load(dumped)
    assert again == done[1]
    assert compile(Source.from_text(data), OPTIONS, again).definition.to_bytes() == done[0].definition.to_bytes()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = texts.filter(bool)
digests = st.binary(min_size=32, max_size=32).map(lambda b: f"sha256:{b.hex()}")
configs = st.dictionaries(texts, st.one_of(texts, st.integers(), st.none()), max_size=3).map(lambda d: json.dumps(d).encode())


@SLOW
@given(
    st.dictionaries(st.tuples(texts, st.sampled_from(("linux/amd64", "linux/arm/v7")), st.just("default")), st.tuples(names, digests, configs), max_size=3),
    st.dictionaries(st.tuples(texts, texts), st.one_of(st.none(), st.binary(max_size=20)), max_size=3),
    st.dictionaries(texts, st.tuples(digests, texts), max_size=3),
    st.dictionaries(texts, texts, max_size=3),
)
def test_any_answers_round_trip(images: dict, files: dict, http: dict, git: dict) -> None:  # type: ignore[type-arg]
    answers = Answers(
        {key: ImageAnswer(*value) for key, value in images.items()},
        files,
        {url: HttpAnswer(*value) for url, value in http.items()},
        {identifier: GitAnswer(commit) for identifier, commit in git.items()},
    )
    try:
        dumped = answers.dump()
        again = Answers.load(dumped)
    except DockcError:
        return  # names that no question has are refused
    assert again.dump() == dumped
    assert again == answers


# --- other processes ------------------------------------------------------------------------------------

CHILD = """
import sys, json, hashlib
from tests.property.test_laws import forms
for name in sys.argv[1:]:
    print(hashlib.sha256(repr(forms(open(name, encoding="utf-8", errors="surrogateescape").read())).encode("utf-8", "surrogateescape")).hexdigest())
"""
ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "conformance" / "llb"


def _digests(paths: list[Path], hash_seed: str) -> list[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", CHILD, *map(str, paths)], cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().split()


def _same_everywhere(paths: list[Path]) -> None:
    first, *others = (_digests(paths, seed) for seed in ("0", "1", "4711", "random"))
    assert len(first) == len(paths)
    assert all(other == first for other in others)


def test_output_is_the_same_in_every_process() -> None:
    """Whatever the seed of the hashes: on the project's own Dockerfiles."""
    own = [*sorted((ROOT / "tests" / "fuzz" / "seeds").glob("*.Dockerfile")), *sorted((ROOT / "examples").rglob("Dockerfile"))]
    _same_everywhere(own)


def test_output_of_the_conformance_cases_is_the_same_in_every_process() -> None:
    if not SHARED.is_dir():
        pytest.skip("no ../shared beside this checkout: conformance cases")
    _same_everywhere(sorted(SHARED.glob("*/*/Dockerfile"))[::4])


def _command_output(folder: Path, form: str, route: Callable[[list[str]], int | None]) -> bytes:
    out = folder / "out"
    out.unlink(missing_ok=True)
    status = route(["compile", str(folder), "-f", str(folder / "Dockerfile"), f"--emit={form}", "-o", str(out), "--answers", str(folder / "answers"), "--platform=linux/amd64"])
    return out.read_bytes() if status == 0 else b""


@settings(SLOW, max_examples=20)
@given(dockerfiles())
def test_command_and_library_agree(tmp_path_factory: pytest.TempPathFactory, data: str) -> None:
    done = compiled(data)
    if isinstance(done, str):
        return
    folder = tmp_path_factory.mktemp("context")
    (folder / "Dockerfile").write_bytes(parse(Source.from_text(data)).file.source.data)
    (folder / "answers").write_text(done[1].dump(), "utf-8")
    library = dockc.compile(data, attrs={"platform": "linux/amd64"}, answers=done[1])
    assert _command_output(folder, "pb", line_main.run) == library.definition.to_bytes()
    assert _command_output(folder, "image", line_main.run) == library.image_json + b"\n"


def test_seeds_compile() -> None:
    """The seeds must stay worth their name."""
    outcomes = [compiled(Source("Dockerfile", data).text) for data in seeds()]
    assert sum(not isinstance(outcome, str) for outcome in outcomes) >= 4, [o for o in outcomes if isinstance(o, str)]
