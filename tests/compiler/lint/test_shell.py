"""Shell scripts: which commands rules see, and that the parser accepts what bash accepts."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockc.linter.shell.commands import read
from tests.tools import calls


def names(text: str) -> list[str]:
    return [c.name for c in read(text).commands]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("apt-get update && apt-get install -y curl | cat", ["apt-get", "apt-get", "cat"]),
        ("if [ -f x ]; then rm -rf x; fi", ["rm"]),
        ("for i in a b; do echo $i; done", ["echo"]),
        ("case $x in a|b) one;; *) two;; esac", ["one", "two"]),
        ("f() { inner; }; f", ["inner", "f"]),
        ("cat <<EOF >f\nbody words\nEOF\nnext", ["cat", "next"]),
        ("FOO=1 env; BAR=$(sub)", ["env", "sub"]),
        ('echo `tick` "$(dollar)" ${x:-$(brace)} <(process)', ["echo", "tick", "dollar", "brace", "process"]),
        ("command curl; exec tini -- x; busybox wget", ["curl", "tini", "wget"]),
        ("$dynamic arg", []),
        ("'quo'ted", ["quoted"]),
        ("! not; time timed; { group; }; (sub; shell)", ["not", "time", "timed", "group", "sub", "shell"]),
        ("while read l; do loop; done < f; until u; do v; done", ["read", "loop", "u", "v"]),
        ("[[ $x =~ ^(a|b)$ ]] && after", ["after"]),
        ("((x++)) && after; $((1 + $(in))) ", ["after", "in"]),
        ("a & b; # comment && c\nd", ["a", "b", "d"]),
        ("a=(1 $(two)); b", ["two", "b"]),
        ("coproc one; coproc N { two; }; coproc N ( three ); coproc f() { four; }", ["one", "two", "three", "four"]),
        ("coproc for ((;;)); do one; done; coproc", ["one", "coproc"]),
        ("one & ; if two; then; three; else; four; fi", ["one", "two", "three", "four"]),
        ("for i in a b do one; done; while two; do; three; done", ["one", "two", "three"]),
        ("one &>&2; two &>&-", ["one", "two"]),
        (
            "one <<E; two\n$(three) `four` ${x:-$(five)} \\$(no) $((1 + $(six)))\nE\nseven",
            ["one", "three", "four", "five", "six", "two", "seven"],
        ),
        ("one <<'E' <<\\F\n$(no)\nE\n$(no)\nF\ntwo", ["one", "two"]),
        ("one <<E\nx\nE \ntwo", ["one", "two"]),
    ],
)
def test_commands_are_found_wherever_they_stand(text: str, expected: list[str]) -> None:
    assert names(text) == expected


ARITHMETIC = """
1; +1; - a; !!a; ~a; ++a; a++; a + b; a +b; 1$x; $a$b; ${a}b; "1"; 'a' + `b`; $(c) * $((d)); 10#$x; 16#ff; x[1]; x[$i+1]++; 1.5; 08;
$#; ${#a[@]}; a+++b; a = b; a=b=c; a == b; a =! b; a <= b; a << b; a >>= b; a && b || c; a ** b % c; a,b; a ? b : c; a ? b ? c : d : e;
(a) + (b); ((a)); a += 1; i<3&&j<2; i = i + 1; 1=i; 1a; a-b;
"""
NO_ARITHMETIC = """
1 +; a b; a$b; a"b"; x[a b]; a.b; @; - -a; a ++ b; a === b; a => b; a <> b; , a; a ,; a ? b; a : b; (a) (b); (a)b; a(b); [a]; {a}; a # b;
a := 1; a -eq 1; =; &&; !; ?; %; 1 a;
"""


@pytest.mark.parametrize("text", [one.strip() for one in ARITHMETIC.split(";") if one.strip()])
def test_arithmetic(text: str) -> None:
    assert names(f"for ((i=0; {text}; i++)); do loop; done")[-1] == "loop"


@pytest.mark.parametrize("text", [one.strip() for one in NO_ARITHMETIC.split(";") if one.strip()])
def test_what_is_no_arithmetic(text: str) -> None:
    assert names(f"for ((i=0; {text}; i++)); do loop; done") == []


@pytest.mark.parametrize("operator", ["=", "==", "!=", "=~", "<=", "\\<", "\\=", "\\!=", "-eq", "-foo", '"="'])
def test_operators_of_conditions(operator: str) -> None:
    assert names(f'[ "$a" {operator} b ]; [[ $a {operator} b ]]; after') == ["after"]


@pytest.mark.parametrize("operator", ["~=", "===", "=>", "~", "+", "!~"])
def test_what_is_no_operator_of_a_condition(operator: str) -> None:
    assert names(f'[ "$a" {operator} b ]; after') == []


def test_two_brackets_without_arithmetic_are_two_subshells() -> None:
    assert names("((sub shell)); $((sub shell))") == ["sub", "sub"]


@pytest.mark.parametrize(
    "opening", ["$((", "((", "$[", "$(( 1 + ", "((a?", "coproc f() { $((", '"$((', "<<E\n$(", "coproc N { "]
)
def test_deep_nesting_is_given_up_soon(opening: str) -> None:
    for closing in ("", ") )", "]", "}"):
        read(opening * 300 + "1" + closing * 300)


@pytest.mark.parametrize(
    "text",
    [
        "'open",
        '"open',
        "a &&",
        "if x; then y",
        "$(open",
        "| b",
        "case x in",
        "cat <<EOF\n",
        "a; for i- in b; do c; done",
        "a; coproc ( b )",
        "a; time -p; b",
        "a; for ((i=0; i<3)); do b; done",
        "if; a; then b; fi",
    ],
)
def test_what_does_not_parse_has_no_commands(text: str) -> None:
    shell = read(text)
    assert not shell.ok
    assert shell.commands == ()


def test_commands_before_something_that_cannot_follow_are_kept() -> None:
    shell = read("a && b ) c")
    assert not shell.ok
    assert [c.name for c in shell.commands] == ["a", "b"]


def test_arguments_keep_variables_by_name_and_lose_quotes() -> None:
    (command,) = read("""x "a b" 'c'd $v "${w}" *.t -qqy --long=1 -""").commands
    assert command.texts == ("a b", "cd", "${v}", "${w}", "*.t", "-qqy", "--long=1", "-")
    assert [flag for flag, _ in command.flags] == ["q", "q", "y", "long"]
    assert command.words == ("a b", "cd", "${v}", "${w}", "*.t", "-")


def test_flag_values() -> None:
    (command,) = read("apt-get -t testing install -y pkg -t=x").commands
    assert command.flag_values("t") == ("testing",)
    assert command.without_values_of({"t"}).words == ("install", "pkg")


def test_places_point_into_the_script() -> None:
    text = "a && apt-get install -y curl"
    command = read(text).commands[1]
    assert text[command.start : command.end] == "apt-get install -y curl"
    assert text[command.start : command.name_end] == "apt-get"
    assert [text[a.start : a.end] for a in command.arguments] == ["install", "-y", "curl"]


def test_pipes_are_counted() -> None:
    assert read("a | b |& c; (d | e)").pipes == 3


@pytest.mark.parametrize(
    "text", ["$(" * 5000, "((" * 5000, "{ " * 5000, '"$(' * 5000, "if " * 5000, "`" * 4001, "${a:-" * 5000]
)
def test_deep_nesting_is_given_up(text: str) -> None:
    assert not read(text).ok


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "a",
                " ",
                ";",
                "\n",
                "|",
                "&",
                "(",
                ")",
                "'",
                '"',
                "$",
                "{",
                "}",
                "`",
                "\\",
                "<",
                ">",
                "if ",
                "then ",
                "fi",
                "#",
                "=",
            ]
        )
    )
)
def test_any_text_is_parsed_or_refused(pieces: list[str]) -> None:
    read("".join(pieces))


SIMPLE = st.recursive(
    st.sampled_from(["echo a", "x=1 y", 'p "q $r"', "s '|'", "t >u 2>&1", "v $(w)"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" && ", " || ", "; ", " | ", "\n", " & "]), inner).map("".join),
        inner.map(lambda s: f"( {s} )"),
        inner.map(lambda s: f"{{ {s}\n}}"),
        inner.map(lambda s: f"if {s}\nthen {s}\nelse {s}\nfi"),
        inner.map(lambda s: f"for i in 1 2; do {s}\ndone"),
        inner.map(lambda s: f"case x in y) {s};; esac"),
    ),
    max_leaves=6,
)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash to compare with")
@settings(max_examples=60, deadline=None)
@given(SIMPLE, st.integers(0, 400), st.booleans())
def test_bash_agrees(script: str, cut: int, whole: bool) -> None:
    text = script if whole else script[:cut]
    accepted = subprocess.run(["bash", "-n", "-c", text], capture_output=True, check=False).returncode == 0
    if accepted or whole:
        assert read(text).ok == accepted, text


@pytest.mark.parametrize(
    "piece", ["[", "[a", "[[:", "$((", "((", "`", '"$(', "${a:-", "@(", "case x in (", "x[1", "<<a ", "\\\n"]
)
@pytest.mark.timeout(60)
def test_hostile_scripts_cost_in_proportion(piece: str) -> None:
    short, long = (calls(lambda: read(f"e {piece * n}")) for n in (1000, 4000))  # noqa: B023
    assert long <= 4.1 * short + 100
