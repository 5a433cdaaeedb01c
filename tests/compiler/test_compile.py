"""The compiler as a whole: checks, outline, targets, determinism, start-up, size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockc.compiler.checks import LintConfig, Linter, check_directive, parse_check_options
from dockc.compiler.compile import Front, compile, lint, outline, read, targets
from dockc.compiler.options import CompileOptions
from dockc.compiler.outline import outline_text, targets_text
from dockc.compiler.questions import Answers
from dockc.errors import CompileError
from dockc.grammar import cst
from dockc.grammar.source import Source
from dockc.oci import platform as platforms
from tests.tools import calls

Build = Any
REPO = Path(__file__).resolve().parents[2]
AMD64 = platforms.parse("linux/amd64")
OPTIONS = CompileOptions.from_attrs({}, build_platforms=(AMD64,), host_platform=AMD64)
NO_FILES = Answers(files={("context", ".dockerignore"): None, ("dockerfile", "Dockerfile.dockerignore"): None})


def front(text: str) -> Front:
    return read(Source.from_text(text))


# --- checks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM scratch AS X\n", ["StageNameCasing"]),
        ("from scratch AS x\n", ["FromAsCasing"]),
        ("FROM scratch\nRUN a \\\n\n b\n", ["NoEmptyContinuation"]),
        ("FROM scratch\ncopy a b\nCOPY a b\n", ["ConsistentInstructionCasing"]),
        ("FROM scratch AS a\nFROM scratch AS a\n", ["DuplicateStageName"]),
        ("FROM scratch AS scratch\n", ["ReservedStageName"]),
        ("FROM scratch\nCMD a\n", ["JSONArgsRecommended"]),
        ("FROM scratch\nMAINTAINER a\n", ["MaintainerDeprecated"]),
        ("FROM scratch$X\n", ["UndefinedArgInFrom"]),
        ("FROM scratch\nWORKDIR a\n", ["WorkdirRelativePath"]),
        ("FROM scratch\nCOPY $X b\n", ["UndefinedVar"]),
        ('FROM scratch\nCMD ["a"]\nCMD ["b"]\n', ["MultipleInstructionsDisallowed"]),
        ("FROM scratch\nENV a b\n", ["LegacyKeyValueFormat"]),
        ("FROM --platform=$TARGETPLATFORM scratch\n", ["RedundantTargetPlatform"]),
        ("FROM scratch\nARG MY_TOKEN\n", ["SecretsUsedInArgOrEnv"]),
        ("FROM scratch\nARG PUBLIC_KEY\n", []),
        ("FROM scratch\nARG \u212aEY pa\u00dfword\n", ["SecretsUsedInArgOrEnv"]),
        ("ARG X\nFROM scratch AS a\nFROM a${X:+:}\n", []),
        ("FROM --platform=linux/arm64 scratch\n", ["FromPlatformFlagConstDisallowed"]),
        ("FROM --platform=linux/arm64 scratch AS arm64\n", []),
        ("FROM scratch\nEXPOSE 1/UDP\n", ["ExposeProtoCasing"]),
        ("FROM scratch\nEXPOSE 1:2\n", ["ExposeInvalidFormat"]),
        ("# note\nFROM scratch AS a\n", []),
        ("# check=experimental=all\n\n# note\nFROM scratch AS a\n", ["InvalidDefinitionDescription"]),
        ("# check=skip=JSONArgsRecommended\nFROM scratch\nCMD a\n", []),
        ("FROM scratch\n# check=skip=all\nCMD a\n", []),
    ],
)
def test_rules(build: Build, text: str, expected: list[str]) -> None:
    assert [rule for rule, _ in build.warnings(text)] == expected


def test_a_stage_that_nothing_needs_is_checked_only_by_lint() -> None:
    text = front("FROM scratch AS a\nCMD x\nFROM scratch\n")
    assert compile(text, OPTIONS, NO_FILES).warnings == ()
    assert [warning.rule for warning in lint(text, OPTIONS, NO_FILES).warnings] == ["JSONArgsRecommended"]
    aimed = CompileOptions.from_attrs({"target": "a"}, build_platforms=(AMD64,), host_platform=AMD64)
    assert len(lint(text, aimed, NO_FILES).warnings) == 1


def test_paths_that_the_ignore_file_keeps_out() -> None:
    answers = NO_FILES.merged(Answers(files={("context", ".dockerignore"): b"secret\n*.log\n"}))
    result = lint(front("FROM scratch\nCOPY secret/a b.log /x/\nADD c /y\n"), OPTIONS, answers)
    assert [warning.message for warning in result.warnings] == [
        'Attempting to Copy file "secret/a" that is excluded by .dockerignore',
        'Attempting to Copy file "b.log" that is excluded by .dockerignore',
    ]


def test_lint_tells_findings_and_the_error() -> None:
    result = lint(front("FROM scratch\nMAINTAINER x\nEXPOSE y\n"), OPTIONS, NO_FILES)
    assert [warning.lines for warning in result.warnings] == [(2,)]
    assert result.error is not None
    assert result.error.message == "invalid containerPort: y"


def test_findings_are_errors_when_asked() -> None:
    warnings: list[Any] = []
    with pytest.raises(CompileError, match="lint violation found for rules: JSONArgsRecommended"):
        compile(front("# check=error=true\nFROM scratch\nCMD a\n"), OPTIONS, NO_FILES, warnings=warnings)
    assert len(warnings) == 1


def test_a_wrong_check_directive_is_reported_before_a_syntax_error() -> None:
    with pytest.raises(CompileError, match='failed to parse check options: invalid check option "x"'):
        compile(front("# check=x\nNOPE\n"), OPTIONS, NO_FILES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# check=skip=all more\nFROM x", "skip=all"),
        ("\ufeff#!/usr/bin/env x\n#syntax=a\n#CHECK = skip=all", "skip=all"),
        ("# other\n# check=a\n", None),
        ("# check=a\n# check=b\n", "a"),
        ("FROM x\n# check=a\n", None),
    ],
)
def test_where_a_check_directive_is_read(text: str, expected: str | None) -> None:
    found = check_directive(text)
    assert (found and found.text) == expected
    assert found is None or text[found.span.start : found.span.end] == expected


def test_check_options() -> None:
    config = parse_check_options(" skip = A , B ; experimental=all;error=1")
    assert (config.skip, config.experimental_all, config.error) == (frozenset({"A", "B"}), True, True)
    with pytest.raises(CompileError, match="failed to parse check option"):
        parse_check_options("error=maybe")


def test_a_silent_linter_hears_nothing() -> None:
    linter = Linter(LintConfig(error=True), None)
    linter.report("MaintainerDeprecated", "x", (1, 1))
    assert linter.error() is None


# --- outline and targets ------------------------------------------------------------------------------

OUTLINED = """\
# V the version
ARG V=1
ARG UNUSED=2
FROM scratch AS base
ARG W=$V
# app what runs
FROM base AS app
ARG V
# DOC word
ARG DOC=$V
RUN --mount=type=secret,id=s,required --mount=type=ssh x
"""


def test_outline() -> None:
    found = outline(front(OUTLINED), OPTIONS, NO_FILES)
    assert (found["name"], found["description"]) == ("app", "what runs")
    assert [arg["name"] for arg in found["args"]] == ["V", "W", "DOC"]
    assert found["args"][2] == {
        "name": "DOC",
        "description": "word",
        "value": "1",
        "location": {"ranges": [{"start": {"line": 10}, "end": {"line": 10}}]},
    }
    assert [(need["name"], need.get("required")) for need in found["secrets"]] == [("s", True)]
    assert found["ssh"][0]["name"] == "default"
    assert outline_text(found) == (
        "TARGET:      app\nDESCRIPTION: what runs\n\n"
        "BUILD ARG   VALUE   DESCRIPTION\nV           1       the version\nW                   \n"
        "DOC         1       word\n\n"
        "SECRET   REQUIRED\ns        true\n\nSSH       REQUIRED\ndefault   \n\n"
    )


def test_targets() -> None:
    found = targets(front(OUTLINED))
    assert found is not None
    assert [target["name"] for target in found] == ["base", "app"]
    assert found[1]["default"] and found[1]["base"] == "base"
    assert targets_text(found) == "TARGET        DESCRIPTION\nbase          \napp (default) what runs\n"
    assert targets(front("ARG A\n")) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "the Dockerfile cannot be empty"), ("ARG A\n", "dockerfile contains no stages to build")],
)
def test_files_without_stages(text: str, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        compile(front(text), OPTIONS, NO_FILES)


# --- laws ---------------------------------------------------------------------------------------------

LINES = st.sampled_from(
    [
        "RUN echo $A",
        "COPY a b /c/",
        "COPY --link --from=s0 /a /b",
        "COPY --from=busybox /a /b",
        "ENV A=1 B=$A",
        "ARG A=x",
        "WORKDIR w",
        "LABEL a=1 b=2",
        "RUN --mount=type=cache,target=/c --mount=from=s0,target=/m x",
        "ADD https://h/f https://h/r.git#m /d/",
        "COPY <<F /f\nbody $A\nF",
        "CMD x",
        "ONBUILD RUN y",
        "FROM s0",
        "FROM scratch AS s1",
        "EXPOSE 1 2/udp",
        "# comment",
        "RUN \\\n  a",
    ]
)
FILES = st.lists(LINES, max_size=12).map(lambda lines: "FROM scratch AS s0\n" + "\n".join(lines) + "\n")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(FILES)
def test_compiling_is_a_function(build: Build, text: str) -> None:
    try:
        first = build(text)
    except CompileError as error:
        again = build.error(text)
        assert (again.message, again.locations) == (error.message, error.locations)
        return
    second = build(cst.text(first.front.parsed.file))
    assert first.definition.to_bytes() == second.definition.to_bytes()
    assert first.image_json == second.image_json


PROGRAM = """
import sys
from tests.conformance.llb.run import Case, Run
from dockc.compiler.compile import compiling, linting, outlining
from tests.conformance.llb.world import compile_options
import hashlib
text = open(sys.argv[1], "rb").read()
options = {"build_args": {"B": "1", "A": "2"}, "labels": {"z": "1", "y": "2"}}
run = Run(Case("x", text, options, {}))
o = compile_options(options)
compiled = run.asking(compiling(run.front, o))
print(hashlib.sha256(compiled.definition.to_bytes()).hexdigest(), compiled.image_json.decode())
print([repr(w) for w in run.asking(linting(run.front, o)).warnings])
print(run.asking(outlining(run.front, o)))
"""


def test_hash_seeds_make_no_difference(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(
        "ARG A\nARG B\nFROM alpine AS a\nARG A B C=$A$B\nRUN --mount=from=busybox,target=/x $U1 $U2 x\n"
        "COPY $U1 $U2 $U3 /x/\nFROM debian\nCOPY --from=a --link /b /c\nCOPY --from=a --link z y x /c/\nLABEL b=$V a=$W\n"
    )
    outputs = set()
    for seed in ("0", "1", "2"):
        result = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(file)],
            cwd=REPO,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.add(result.stdout)
    assert len(outputs) == 1


def test_compiling_loads_nothing_that_talks_to_the_world() -> None:
    program = (
        "import sys\n"
        "from dockc.compiler.compile import compile\n"
        "from dockc.compiler.options import CompileOptions\n"
        "from dockc.compiler.questions import Answers\n"
        "from dockc.grammar.source import Source\n"
        "none = Answers(files={('context', '.dockerignore'): None, ('dockerfile', 'Dockerfile.dockerignore'): None})\n"
        "compiled = compile(Source('Dockerfile', b'FROM scratch\\nCOPY a /\\n'), CompileOptions(), none)\n"
        "compiled.definition.to_bytes(), compiled.image_json\n"
        "print(*sorted(sys.modules))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in result.stdout.split()}
    heavy = {"asyncio", "socket", "ssl", "subprocess", "sqlite3", "urllib3", "rich", "lark", "google", "msgspec"}
    assert loaded & heavy == set()


# --- size ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda n: "FROM alpine\n" + "".join(f"RUN echo {i}\n" for i in range(n)),
        lambda n: "FROM alpine\n" + "".join(f"ENV A{i}=$A{i - 1}\n" for i in range(n)),
        lambda n: "FROM alpine AS s0\n" + "".join(f"FROM s{i} AS s{i + 1}\nRUN x\n" for i in range(n // 2)),
        lambda n: (
            "FROM alpine AS s0\n" + "".join(f"FROM scratch AS s{i + 1}\nCOPY --from=s{i} /a /\n" for i in range(n // 2))
        ),
    ],
    ids=["run", "env", "chain", "stages"],
)
def test_long_files_cost_in_proportion(build: Build, make: Any) -> None:
    few, short, long = (calls(lambda: build(make(n)).definition.to_bytes()) for n in (200, 1000, 4000))  # noqa: B023
    assert few < short
    assert long < 4.1 * short
    assert long < 800 * 4000


LONG = ["9" * 5000, "-" + "9" * 5000, "0" * 5000, "\xb2", "\u0663"]
NUMBERED = [
    "COPY --from=% a /x", "COPY --chown=%:% a b", "COPY --chmod=% a b", "RUN --mount=type=tmpfs,target=/t,size=% y", "RUN --mount=type=cache,target=/t,mode=%,uid=%,gid=% y",
    "EXPOSE 1-%/udp", "HEALTHCHECK --retries=% CMD x", "HEALTHCHECK --interval=%s CMD x", "STOPSIGNAL %", "USER %:%", "ARG SOURCE_DATE_EPOCH=%", "FROM --platform=linux/arm/v% a",
]  # fmt: skip


@pytest.mark.parametrize("line", NUMBERED)
def test_numbers_of_thousands_of_digits_are_results_or_errors(build: Build, line: str) -> None:
    """Python reads no more than 4,300 digits, and other digits than Go."""
    for number in LONG:
        try:
            build(f"FROM scratch\n{line.replace('%', number)}\n")
        except CompileError:
            continue
