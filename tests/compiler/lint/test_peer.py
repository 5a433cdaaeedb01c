"""Files as hadolint reads them: command lines, words, lines, and what it cannot read. Expectations are hadolint 2.15.1's."""

from __future__ import annotations

import pytest

from dockc.grammar.source import Source
from dockc.linter.labels import is_email, is_rfc3339, is_semver, is_url
from dockc.linter.options import LintOptions
from dockc.linter.peer.arguments import command_line
from dockc.linter.peer.reader import read
from dockc.linter.peer.scan import Scanner
from dockc.linter.runner import lint_source


def codes(text: str) -> list[str]:
    report = lint_source(Source("Dockerfile", text.encode()), LintOptions(profile="hadolint"))
    return [f"{f.line} {f.code}" for f in report.findings]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a \\\n    b", (False, "a  b")),
        ("a\\\nb", (False, "ab")),
        ("a \\\n# note\n  && b", (False, "a  && b")),
        ("cat <<EOF > x\nbody\nEOF", (False, "cat")),
        ("<<EOF\n one\n two\nEOF", (False, "one\n two")),
        ("a << b", (False, "a << b")),
        ('["a", "b c"]', (True, "a b c")),
        ('["a", \\\n  "b\\"c"]', (True, 'a b"c')),
        ("['a']", (False, "['a']")),
        ('["C:\\\\x", "y"]', (True, "C:\\\\x y")),
        ('["a",]', (False, '["a",]')),
    ],
)
def test_commands_as_hadolint_reads_them(text: str, expected: tuple[bool, str]) -> None:
    line = command_line(Scanner(text, "\\", int))
    assert (line.exec_form, line.text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('COPY --from="x" a /b', ["2 DL3022"]),
        ("COPY a\\\n  b /c\nCOPY a\\\n b c d", ["4 DL3021", "4 DL3045"]),
        ("COPY <<EOF a /b\nx\nEOF", ["2 DL3045"]),
        ("COPY <<a.tar /b\nx\na.tar\n\nRUN tar -xf a.tar", ["2 DL3010"]),
        ("CMD <<EOF\na\nEOF", ["2 DL3025"]),
        ('USER "1000"', ["2 DL3066"]),
        ("USER root # never", ["2 DL3066"]),
        ("USER \u0661\u0662", ["2 DL3066"]),
        ("ARG A=1 B=2\nUSER $B", ["3 DL3066"]),
        ('ENV "a"=1 b=$a', ["2 DL3044"]),
        ("ENV A_TOKEN", None),
        ("LABEL =b", ["2 DL3048"]),
        ("LABEL aBc=d", ["2 DL3048"]),
        ("LABEL a..b=c A=b", ["2 DL3048"]),
        ("\\\nRUN cd a", ["3 DL3003"]),
        ("RUN cd a\necho $((1 << 2))", None),
        ("RUN coproc NAME { sudo a; }", ["2 DL3004"]),
        ('SHELL ["/usr/bin/bash", "-o", "pipefail", "-c"]\nRUN a | b', ["3 DL4006"]),
        ('SHELL ["/bin/bash", "-o", "pipefail", "-c"]\nRUN a | b', []),
        ("RUN --mount=target=/a,type=cache b\nRUN --mount=type=cache,dst=/a c", ["3 DL3059"]),
        ("RUN --mount=type=cache,target=/a b\nRUN --mount=type=cache,target=/a,ro c", []),
        ("RUN --mount=type=cache,target=/var/cache/apk apk add a=1", []),
        ("ONBUILD ONBUILD RUN cd a", ["2 DL3043"]),
        ("RUN a <<EOF\nb\nEOF\nRUN c", None),
        ("RUN --mount=type=cache,target=/a,nope b", None),
        ("HEALTHCHECK none", None),
        ("HEALTHCHECK --interval=1m30s CMD a", None),
        ("EXPOSE 80:80", None),
        ("EXPOSE 80\\\n", None),
        ("EXPOSE 80 \\\n", []),
        ("ONBUILD # a", []),
        ('LABEL a="b', None),
        ("COPY a", None),
        ("RUN a \\\n  \n  b", None),
    ],
)
def test_instructions_as_hadolint_reads_them(text: str, expected: list[str] | None) -> None:
    source = f"FROM a:1\n{text}\n"
    if expected is None:
        assert read(Source("Dockerfile", source.encode())) is None
    else:
        assert codes(source) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('FROM --platform="$TARGETPLATFORM" a:1', []),
        ("FROM ${A:-${B:-c:latest}}", []),
        ("FROM a.b/${C:-d/e}:latest", ["1 DL3007"]),
        ("FROM a:1 AS b\nFROM b\nFROM B", ["3 DL3006"]),
        ("\ufeffFROM a", ["1 DL3006"]),
        ("FROM a:1\r\nRUN a && \\\r\n  cd b\r\n", ["2 DL3003"]),
        ("# escape=`\nFROM a:1\nRUN a `\n  && cd b", ["3 DL3003"]),
        ("# escape=` \nFROM a:1\nRUN a \\\n  && cd b", ["3 DL3003"]),
    ],
)
def test_files_as_hadolint_reads_them(text: str, expected: list[str] | None) -> None:
    if expected is None:
        assert read(Source("Dockerfile", text.encode())) is None
    else:
        assert codes(f"{text}\n") == expected


def test_places_stand_in_the_source_whatever_its_line_ends() -> None:
    source = Source("Dockerfile", "\ufeff# one\r\nFROM a:1\r\n\r\nUSER ada\r\n".encode())
    found = read(source)
    assert found is not None
    user = found.instructions[1]
    assert (user.lines, source.slice(user.span)) == ((4, 4), "USER ada")
    assert [source.slice(c.span) for c in found.comments] == ["# one"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a@b", True), ("a @ b", True), ("(x(y)z) a@b", True), ("a@b.", True), ("a@[]", True), ("a@[x y]", True),
        ("a@b(c)d", False), ("a@-b", False), ("a@b_c", False), ("a" * 64 + "@b", True), ("a" * 65 + "@b", False),
        ("a@" + "b" * 63, True), ("a@" + "b" * 64, False), ('"a b"@c', True), ("a..b@c", False),
    ],
)  # fmt: skip
def test_mail_addresses_as_hadolint_takes_them(text: str, expected: bool) -> None:
    assert is_email(text, parity=True) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://[::1]", True), ("http://[1:2:3:4:5:6:7::]", True), ("http://[1:2:3:4:5:6:7:8:9]", False),
        ("http://[1::2::3]", False), ("http://[12345::]", False), ("http://[::1.2.3.4]", True), ("http://[::1.2.3.256]", False),
        ("http://[fe80::1%25eth0]", True), ("http://[fe80::1%25]", False), ("http://[v1.a]", True), ("http://[v1.a:b]", False),
    ],
)  # fmt: skip
def test_addresses_in_urls(text: str, expected: bool) -> None:
    assert is_url(text) == expected


def test_times_and_versions_that_hadolint_takes() -> None:
    assert is_rfc3339(" 2020-01-01T00:00:00Z ", parity=True)
    assert is_rfc3339("-2020-01-01T00:00:00Z", parity=True)
    assert not is_rfc3339(" 2020-01-01T00:00:00Z ")
    assert is_semver("1.2.3-a.+b.", parity=True)
    assert not is_semver("1.2.3-a..b", parity=True)


@pytest.mark.parametrize(
    ("number", "found"),
    [
        ("0", False),
        ("1", True),
        ("000000000012", True),
        ("4294967296", True),
        ("9223372036854775807", True),
        ("9223372036854775808", False),
        ("18446744073709551615", False),
        ("18446744073709551617", True),
        ("36893488147419103232", False),
        ("0x", False),
        ('"0"', True),
    ],
)
def test_stage_numbers_are_of_64_bits(number: str, found: bool) -> None:
    assert codes(f"FROM a:1\nCOPY --from={number} /a /b\n") == (["2 DL3022"] if found else [])


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("a[$(cd /x)]=x", True),
        ("a[`cd /x`]+=x ls", True),
        ('export a["$(cd /x)"]=x', True),
        ("a[1]=x cd /x", True),
        ("a[1]=x", False),
        ("[ a \\-eq b ] && cd /x", True),
        ("[ a '-eq' b ] && cd /x", True),
        ('[[ a "-eq" b ]] && cd /x', True),
        ("[ a \\-a b ] && cd /x", False),
        ("[ a \"-eq' b ] && cd /x", False),
        ("function f { cd /x; }", True),
        ("function f() ( cd /x )", True),
        ("function f if true; then cd /x; fi", False),
        ("f() for x in a; do cd /x; done", False),
        ("coproc ( cd /x )", False),
    ],
)
def test_scripts_as_hadolint_reads_them(script: str, found: bool) -> None:
    assert ("2 DL3003" in codes(f"FROM a:1\nRUN {script}\n")) == found
