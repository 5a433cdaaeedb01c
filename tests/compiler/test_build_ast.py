"""The AST of every instruction, and what is said about instructions that are wrong."""

from __future__ import annotations

import dataclasses

import pytest

from dockc.compiler.syntax import ast
from dockc.compiler.syntax.build_ast import build_ast, build_ast_or_raise, parse_trigger
from dockc.compiler.syntax.instructions import _BUILDERS
from dockc.errors import SyntaxFailure
from dockc.grammar.parser import KEYWORDS, parse
from dockc.grammar.source import Source


def read(text: str) -> ast.Dockerfile:
    return build_ast_or_raise(parse(Source.from_text(text)))


def one(text: str) -> ast.Instruction:
    """The only instruction after a FROM."""
    (instruction,) = read(f"FROM base\n{text}\n").stages[0].instructions
    return instruction


def texts(words: tuple[ast.Word, ...]) -> list[str]:
    return [word.text for word in words]


def test_every_keyword_has_a_class_and_a_reader() -> None:
    assert set(ast.CLASSES) == set(_BUILDERS) == KEYWORDS
    for name, cls in ast.CLASSES.items():
        assert cls.__name__.upper() == name


def test_stages_and_meta_args() -> None:
    file = read("# check=skip=all\nARG V=1 W\n# x the base\nfrom --platform=$P a:$V as X\nRUN b\nFROM X\n")
    assert file.directives["check"].value == "skip=all"
    (arg,) = file.meta_args
    assert [(p.key.text, p.value and p.value.text) for p in arg.pairs] == [("V", "1"), ("W", None)]
    first, second = file.stages
    assert (first.name, first.base.text, first.platform.text, first.orig_cmd) == ("x", "a:$V", "$P", "from")
    assert (first.doc_comment, first.comments, first.lines) == ("the base", ("x the base",), (4, 4))
    assert first.from_.stage_name_word is not None
    assert file.source.slice(first.from_.stage_name_word.span) == "X"
    assert file.source.slice(first.platform.span) == "$P"
    assert (second.name, second.platform.text, second.instructions) == ("", "", ())


def test_pairs() -> None:
    env = one("ENV a=b 'c d'=e")
    assert isinstance(env, ast.Env)
    assert [(p.key.text, p.value.text, p.no_delim) for p in env.pairs] == [("a", "b", False), ("'c d'", "e", False)]
    label = one("LABEL a  b c=d")
    assert isinstance(label, ast.Label)
    assert [(p.key.text, p.value.text, p.no_delim) for p in label.pairs] == [("a", "b c=d", True)]


def test_places_of_pairs() -> None:
    text = "FROM a\nENV key=val \\\n  other='x y'\n"
    (env,) = read(text).stages[0].instructions
    assert isinstance(env, ast.Env)
    found = [(text[slice(*p.key.span)], text[slice(*p.value.span)]) for p in env.pairs]
    assert found == [("key", "val"), ("other", "'x y'")]


def test_arg_comments() -> None:
    arg = one("# A first\n# B second\nARG A=1 B")
    assert isinstance(arg, ast.Arg)
    assert [p.doc_comment for p in arg.pairs] == ["first", "second"]


def test_shell_forms() -> None:
    run = one('RUN --network=none --mount=type=cache,target=/a --mount=target=/b --device=x,required ["a", "b"]')
    assert isinstance(run, ast.Run)
    assert (run.cmdline, run.prepend_shell) == (("a", "b"), False)
    assert run.flags_used == ("network", "mount", "device")
    assert texts(run.mounts) == ["type=cache,target=/a", "target=/b"]
    assert (run.network, run.security, run.devices) == ("none", "sandbox", (ast.Device("x", True),))
    cmd, entrypoint, shell = one("CMD a  b"), one("ENTRYPOINT []"), one('SHELL ["sh", "-c"]')
    assert isinstance(cmd, ast.Cmd)
    assert isinstance(entrypoint, ast.Entrypoint)
    assert isinstance(shell, ast.Shell)
    assert (cmd.cmdline, cmd.prepend_shell) == (("a  b",), True)
    assert (entrypoint.cmdline, entrypoint.prepend_shell) == (None, False)
    assert shell.shell == ("sh", "-c")


def test_copy_and_add() -> None:
    copy = one("COPY --from=x --chown=1:2 --chmod=755 --link --parents --exclude=a --exclude=b c d /e")
    assert isinstance(copy, ast.Copy)
    assert (texts(copy.sources), copy.dest.text, copy.from_.text) == (["c", "d"], "/e", "x")
    assert (copy.chown.text, copy.chmod.text, copy.link, copy.parents) == ("1:2", "755", True, True)
    assert texts(copy.excludes) == ["a", "b"]
    add = one("ADD --unpack=false --keep-git-dir --checksum=sha256:1 --link=FALSE u /e")
    assert isinstance(add, ast.Add)
    assert (add.unpack, add.keep_git_dir, add.checksum.text, add.link) == (False, True, "sha256:1", False)
    plain = one("ADD u /e")
    assert isinstance(plain, ast.Add)
    assert (plain.unpack, plain.keep_git_dir) == (None, None)


def test_heredocs() -> None:
    copy = one("COPY <<-A 'x' <<\"B\" /d\n\tone\nA\ntwo\nB")
    assert isinstance(copy, ast.Copy)
    assert [c[:3] for c in copy.contents] == [("A", "one\n", True), ("B", "two\n", False)]
    assert texts(copy.sources) == ["'x'"]
    assert copy.lines == (2, 6)
    run = one("RUN <<-A\n\tone\nA")
    assert isinstance(run, ast.Run)
    assert [f[:4] for f in run.files] == [("A", "\tone\n", True, True)]


def test_the_rest() -> None:
    expose, volume, user = one("EXPOSE 90 8080 80/udp"), one('VOLUME [" /a ", "/b"]'), one("USER a b")
    assert isinstance(expose, ast.Expose)
    assert isinstance(volume, ast.Volume)
    assert isinstance(user, ast.User)
    assert texts(expose.ports) == ["80/udp", "8080", "90"]
    assert texts(volume.volumes) == ["/a", "/b"]
    assert user.user.text == "a b"
    health = one("HEALTHCHECK --interval=1m30s --timeout=0s --retries=3 CMD x")
    assert isinstance(health, ast.Healthcheck)
    assert (health.test, health.interval, health.timeout, health.retries) == (("CMD-SHELL", "x"), 90 * 10**9, 0, 3)
    for text, test in (('CMD ["x"]', ("CMD", "x")), ("none", ("NONE",))):
        health = one(f"HEALTHCHECK {text}")
        assert isinstance(health, ast.Healthcheck)
        assert health.test == test


def test_onbuild() -> None:
    onbuild = one("ONBUILD   copy --link <<A b\nx\nA")
    assert isinstance(onbuild, ast.Onbuild)
    assert onbuild.expression == "copy --link <<A b\nx\nA"
    assert isinstance(onbuild.trigger, ast.Copy)
    assert texts(onbuild.args) == ["copy", "<<A", "b"]
    assert isinstance(one("ONBUILD COPY --nope a b"), ast.Onbuild)


def test_trees_are_values() -> None:
    first, second = one("RUN a"), one("RUN a")
    assert first == second
    assert hash(first) == hash(second)
    assert dataclasses.replace(first, code="x").code == "x"
    with pytest.raises(AttributeError, match="frozen"):
        first.code = "y"  # type: ignore[misc]  # the type says so too


@pytest.mark.parametrize(
    ("text", "message", "suggestion"),
    [
        ("FORM x", "unknown instruction: FORM (did you mean FROM?)", "FROM"),
        ("workdr x", "unknown instruction: workdr (did you mean workdir?)", "workdir"),
        ("Coppy x", "unknown instruction: Coppy (did you mean copy?)", "copy"),
        ("// x", "unknown instruction: //", ""),
        ("RUN --mont=a x", "unknown flag: --mont (did you mean mount?)", "mount"),
        ("RUN --x x", "unknown flag: --x", ""),
        ("CMD --x x", "unknown flag: --x", ""),
        ("RUN --network=none --network=host x", "duplicate flag specified: --network", ""),
        ("RUN --network x", "missing a value on flag: --network", ""),
        ("RUN --network=x x", 'invalid network mode "x"', ""),
        ("RUN --security=root x", 'security "root" is not valid', ""),
        ("RUN --device=a,name=b x", "device name already set to a", ""),
        ("RUN --device=a,b x", "invalid field 'b' must be a key=value pair", ""),
        ("RUN --device=a,required=y x", "invalid value for required: y", ""),
        ("RUN --device=a,nam=y x", "unexpected key 'nam' in 'nam=y' (did you mean name?)", "name"),
        ('RUN --device=a\\"b x', 'failed to parse csv devices: parse error on line 1, column 2: bare " in non-quoted-field', ""),
        ("RUN --mount=from=$x,target=/y x", "'from' doesn't support variable expansion, define alias stage instead", ""),
        ("COPY --link=yes a b", "expecting boolean value for flag --link, not: yes", ""),
        ("COPY --link= a b", "missing a value on flag: --link", ""),
        ("COPY a", "COPY requires at least two arguments, but only one was provided. Destination could not be determined", ""),
        ("ADD a <<X\nX", "ADD cannot accept a heredoc as a destination", ""),
        ("ENV =x", "ENV names can not be blank", ""),
        ("ENV", "ENV requires at least one argument", ""),
        ("ARG =x", "ARG names can not be blank", ""),
        ("ARG", "ARG requires at least one argument", ""),
        ("FROM a AS", "FROM requires either one or three arguments", ""),
        ("FROM a as 9", 'invalid name for build stage: "9", name can\'t start with a number or contain symbols', ""),
        ("USER", "USER requires exactly one argument", ""),
        ("MAINTAINER", "MAINTAINER requires exactly one argument", ""),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument", ""),
        ("WORKDIR", "WORKDIR requires exactly one argument", ""),
        ("EXPOSE", "EXPOSE requires at least one argument", ""),
        ("VOLUME", "VOLUME requires at least one argument", ""),
        ('VOLUME [""]', "VOLUME specified can not be an empty string", ""),
        ("SHELL []", "SHELL requires at least one argument", ""),
        ("SHELL a", "SHELL requires the arguments to be in JSON form", ""),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument", ""),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments", ""),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD", ""),
        ("HEALTHCHECK ping x", 'Unknown type "PING" in HEALTHCHECK (try CMD)', ""),
        ("HEALTHCHECK --retries=x CMD y", 'strconv.ParseInt: parsing "x": invalid syntax', ""),
        ("HEALTHCHECK --retries=-1 CMD y", "--retries cannot be negative (-1)", ""),
        ("HEALTHCHECK --interval=1us CMD y", 'Interval "interval" cannot be less than 1ms', ""),
        ("HEALTHCHECK --timeout=5 CMD y", 'time: missing unit in duration "5"', ""),
        ("ONBUILD", "ONBUILD requires at least one argument", ""),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", ""),
        ("ONBUILD from x", "FROM isn't allowed as an ONBUILD trigger", ""),
        ("ONBUILD --x RUN y", "unknown flag: --x", ""),
    ],
)
def test_refused(text: str, message: str, suggestion: str) -> None:
    result = build_ast(parse(Source.from_text(f"FROM a\n{text}\n")))
    assert result.dockerfile is None
    assert result.error is not None
    assert result.error.message == f"dockerfile parse error on line 2: {message}"
    assert result.error.suggestion == suggestion
    lines = 2 + text.count("\n")
    assert result.error.locations == (tuple((line, line) for line in range(2, lines + 1)),)


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("FROM a\nENV a\n", "ENV must have two arguments", 2),
        ("FROM a\nENV a=b c\n", "Syntax error - can't find = in \"c\". Must be of the form: name=value", 2),
        ("FROM a\nCMD [1]\n", "when using JSON array syntax, arrays must be comprised of strings only", 2),
        ("# syntax=a\n# syntax=b\n", "only one syntax parser directive can be used", 1),
        ("# c\n\n", "file with no instructions", 2),
        ("", "file with no instructions", 0),
        ("RUN a\n", "no build stage in current context", 1),
    ],
)
def test_refused_without_prefix(text: str, message: str, line: int) -> None:
    result = build_ast(parse(Source.from_text(text)))
    assert result.error is not None
    assert (result.error.message, result.error.locations) == (message, (((line, line),),))


def test_equally_near_names() -> None:
    result = build_ast(parse(Source.from_text("FROM a\nARD x\n")))
    assert result.error is not None
    names = [message.partition("mean ")[2].rstrip("?)") for message in result.error.alternatives]
    assert names == ["ADD", "ARG"]
    assert result.error.message == result.error.alternatives[0]


def test_all_errors_of_a_file() -> None:
    text = "FROM a\nCOPPY x\nENV a\nRUN --mont=x y\nUSER\n"
    result = build_ast(parse(Source.from_text(text)))
    assert [(d.code, text[slice(*d.span)]) for d in result.diagnostics] == [
        ("unknown-instruction", "COPPY"),
        ("missing-value", "a"),
        ("unknown-flag", "--mont"),
        ("argument-count", "USER"),
    ]
    fixed = [d.fix.edits[0].text for d in result.diagnostics if d.fix]
    assert fixed == ["COPY", "--mount"]
    # The reference stops at the first error of its parser, before it looks at any instruction.
    assert result.error is not None
    assert result.error.message == "ENV must have two arguments"


def test_lint_facts() -> None:
    text = "FROM a As B\n# other\nfrom a AS c\nMAINTAINER me\nRUN a \\\n\n b\n"
    result = build_ast(parse(Source.from_text(text)))
    assert [(fact.rule, fact.lines) for fact in result.warnings] == [
        ("NoEmptyContinuation", (7, 7)),
        ("StageNameCasing", (1, 1)),
        ("FromAsCasing", (1, 1)),
        ("FromAsCasing", (3, 3)),
        ("InvalidDefinitionDescription", (3, 3)),
        ("MaintainerDeprecated", (4, 4)),
    ]
    assert result.warnings[1].message == "Stage name 'B' should be lowercase"
    assert result.warnings[4].comments == ("other",)


def test_facts_stop_at_the_first_error() -> None:
    result = build_ast(parse(Source.from_text("FROM a AS B\nFOO\nMAINTAINER me\n")))
    assert [fact.rule for fact in result.warnings] == ["StageNameCasing"]


def test_triggers() -> None:
    copy = parse_trigger("COPY <<A b\nx\nA")
    assert isinstance(copy, ast.Copy)
    assert copy.contents[0].data == "x\n"
    for text, message in [
        ("RUN a\nRUN b", "onbuild trigger should be a single expression"),
        ("NOPE", "unknown instruction: NOPE (did you mean COPY?)"),
        ("FROM x", "*instructions.Stage is not a command type"),
        ("CMD [1]", "when using JSON array syntax, arrays must be comprised of strings only"),
    ]:
        with pytest.raises(SyntaxFailure) as caught:
            parse_trigger(text)
        assert caught.value.message == message
