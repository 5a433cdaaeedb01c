"""Words: every form, its errors in the reference's words, and a shell as judge where both speak POSIX."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockc.grammar.word import Lex, WordError, expand

ENV = {"full": "foo.tar.gz", "empty": "", "two": "x  y", "nl": "a1\nb2", "path": "/usr/lib/x"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", ""),
        ("plain", "plain"),
        ("$full", "foo.tar.gz"),
        ("${full}x", "foo.tar.gzx"),
        ("$fullx", ""),
        ("a$", "a$"),
        ("$$x", "x"),
        ("$1x", "x"),
        ("'$full'", "$full"),
        ('"$full"', "foo.tar.gz"),
        ('"it\'s"', "it's"),
        (r"\$full", "$full"),
        (r"a\ b", "a b"),
        (r'"\a\"\\\$"', r'\a"\$'),
        ("end\\", "end"),
        ("${none:-d}", "d"),
        ("${empty:-d}", "d"),
        ("${empty-d}", ""),
        ("${none-d}", "d"),
        ("${full:+y}${empty:+y}${empty+y}${none+y}", "yy"),
        ("${full:?e}${empty?e}", "foo.tar.gz"),
        ("${none:-${empty:-${full}}}", "foo.tar.gz"),
        ('${none:-"a b"}', "a b"),
        ("${full#*.}|${full##*.}|${full%.*}|${full%%.*}", "tar.gz|gz|foo.tar|foo"),
        ("${full#x}${full%x}", "foo.tar.gzfoo.tar.gz"),
        ("${full/o/0}|${full//o/0}|${full//./}|${full/.*/}", "f0o.tar.gz|f00.tar.gz|footargz|foo"),
        (r"${path//\//_}", "_usr_lib_x"),
        ("${nl#*1}", "\nb2"),
        ("${nl##*2}", "a1\nb2"),
        ("${nl//?/.}", "..\n.."),
        ("${full//*/x}", "x"),
        ("${full//./'$'}|${full//./'$$0'}|${full//./'$0-$x'}", "foo$tar$gz|foo$0tar$0gz|foo.-tar.-gz"),
        ("<<EOF", "<<EOF"),
        ("\ufeffbom", "bom"),
        ("é${full}\udcff", "éfoo.tar.gz\ufffd"),
        ("$é", ""),
    ],
)
def test_expansion(text: str, result: str) -> None:
    assert expand(text, ENV).result == result


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${", "syntax error: missing '}'"),
        ("${full", "unsupported modifier (\ufffd) in substitution"),
        ("${full:-abc", "syntax error: missing '}'"),
        ("${full/abc", "syntax error: missing '/' in ${}"),
        ("${full/abc/d", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${{full}}", "syntax error: bad substitution"),
        ("${:x}", "syntax error: bad substitution"),
        ("${full^^}", "unsupported modifier (^) in substitution"),
        ("${full:#x}", "unsupported modifier (:#) in substitution"),
        ("${full:/x}", "unsupported modifier (:/) in substitution"),
        ("'open", "unexpected end of statement while looking for matching single-quote"),
        ('a"open', "unexpected end of statement while looking for matching double-quote"),
        ("${empty:?}", "empty: is not allowed to be empty"),
        ("${none?}", "none: is not allowed to be unset"),
        ("${none:?say so}", "none: say so"),
        ("${full:-${none:?x}", "syntax error: missing '}'"),
        ("${full:-${none:?x}}", "none: x"),
        ("${none:-'}", "syntax error: missing '}'"),
        (r"${full#\x}", r"invalid pattern (\x) in substitution: invalid escape '\x'"),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(WordError) as caught:
        expand(text, ENV)
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    assert caught.value.message == f'failed to process "{quoted}": {message}'


def test_names_asked_for() -> None:
    found = expand("$full ${none:-${other}} ${full#$x}", ENV)
    assert found.matched == {"full"}
    assert set(found.unmatched) == {"none", "other", "x"}
    with pytest.raises(WordError) as caught:
        expand("$full$none${", ENV)
    assert (caught.value.matched, set(caught.value.unmatched)) == (frozenset({"full"}), {"none"})


def test_options() -> None:
    text = r'"$a" \b '
    assert Lex(raw_quotes=True).word(text, {"a": "1"}) == '"1" b '
    assert Lex(raw_escapes=True).word(text, {"a": "1"}) == r"1 \b "
    assert Lex(skip_process_quotes=True).word(text, {"a": "1"}) == '"1" b '
    assert Lex(skip_unset_env=True).word("$a ${b} ${c:-d} ${e/f/g}", {}) == "$a ${b} ${c:-d} ${e/f/g}"
    assert Lex("`").word(r"`$a \$a c:\x", {"a": "1"}) == r"$a \1 c:\x"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" a  b ", ["a", "b"]),
        ("$two '$two' \"$two\"", ["x", "y", "$two", "x  y"]),
        (r"a\ b ''", ["a b"]),
        ("<<  EOF", ["<<  EOF"]),
        ("abc${none:-y}def", ["ydef"]),  # the reference loses what stands before a modifier
    ],
)
def test_splitting(text: str, words: list[str]) -> None:
    assert Lex().words(text, ENV) == words


# A real shell as judge

names = st.sampled_from(["full", "empty", "none", "two", "path"])
literal = st.text(st.sampled_from("abxyo./_-=+"), min_size=1, max_size=5)
pattern = st.lists(st.sampled_from(["*", "?", "o", ".", "a", "x", "/", "tar"]), min_size=1, max_size=4).map("".join)
simple = st.one_of(literal, names.map("${{{}}}".format), literal.map("'{}'".format))
argument = st.lists(simple, max_size=2).map("".join)
modified = st.builds("${{{}{}{}}}".format, names, st.sampled_from([":-", "-", ":+", "+"]), argument)
trimmed = st.builds("${{{}{}{}}}".format, names, st.sampled_from(["#", "##", "%", "%%"]), pattern.map(lambda p: p.replace("/", "")))
posix = st.lists(st.one_of(simple, modified, trimmed, names.map("${}-".format)), max_size=4).map("".join)
QUOTED = re.compile("'[^']*'")


def ask(shell: str, texts: list[str]) -> list[str]:
    """What a shell makes of the texts, each in double quotes or as it is."""
    script = "".join(f"printf '%s\\0' {text}\n" for text in texts)
    env = {name: value for name, value in ENV.items() if name != "nl"}
    run = subprocess.run([shutil.which(shell) or shell, "-c", f"set -f; IFS=; {script}"], env=env, capture_output=True, check=True)
    return run.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_shell_agrees(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")

    @settings(max_examples=25, deadline=None)
    @given(st.lists(posix, min_size=1, max_size=12))
    def law(texts: list[str]) -> None:
        words = [f'{text}""' for text in texts]
        assert ask(shell, words) == [expand(word, ENV).result for word in words]

    law()


def test_bash_agrees_on_replacement() -> None:
    if shutil.which("bash") is None:
        pytest.skip("no bash on this machine")

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.builds("${{full{}{}/{}}}".format, st.sampled_from(["/", "//"]), pattern.map(lambda p: p.replace("/", r"\/")), st.sampled_from(["", "0", "ab"])), min_size=1, max_size=12))
    def law(texts: list[str]) -> None:
        # bash takes a leading # or % of a pattern as an anchor; the reference does not, so none is made here.
        assert ask("bash", [f'"{t}"' for t in texts]) == [expand(t, ENV).result for t in texts]

    law()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*"abcdfx${}:-+?#%/\\'\"< \t*\n`=0@!.", "${full", "${none:-", "${two/", "é", "²", "\udc85"]), max_size=14).map("".join), st.sampled_from("\\`"))
def test_any_text_expands_or_says_why(text: str, escape: str) -> None:
    for lex in (Lex(escape), Lex(escape, raw_quotes=True, raw_escapes=True, skip_unset_env=True), Lex(escape, skip_process_quotes=True)):
        try:
            first = lex.expand(text, ENV)
        except WordError as error:
            assert error.message.startswith("failed to process ")
        else:
            assert first == lex.expand(text, ENV)
            assert first.result == lex.word(text, ENV)


def test_no_word_fills_the_memory() -> None:
    big = "a" * (1 << 20)
    for text in ("$v" * 17, "${v//a/$v}", "${v//?/xxxxxxxxxxxxxxxxxxxxxxxx}", "${none:-" * 3 + "$v" * 17 + "}" * 3):
        with pytest.raises(WordError, match="variables add more than 16777216 characters"):
            Lex().word(text, {"v": big})
    assert len(Lex().word("$v" * 16, {"v": big})) == 1 << 24
