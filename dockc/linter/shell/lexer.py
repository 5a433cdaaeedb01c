"""Words of a shell script: quotes, expansions, globs. Commands are `parser`'s."""

from __future__ import annotations

from collections.abc import Callable

from dockc.base.pattern import pattern
from dockc.linter.shell import arithmetic, ast

#: Nesting of substitutions, quotes in substitutions and compound commands beyond which a script is given up.
MAX_DEPTH = 80

#: Characters that end an unquoted word.
BREAKS = frozenset(" \t\n\r|&;<>()\xa0")
_PLAIN = pattern(r"[^ \t\n\r\xa0|&;<>()\\'\"$`*?\[{}@!+]+")
_IN_DOUBLE = pattern(r"[^\\\"$`]+")
_NAME = pattern(r"[A-Za-z_][A-Za-z0-9_]*")
# Bounded, so that many opening brackets without a closing one stay linear.
_BRACKET = pattern(r"\[[!^]?\]?(?:\[:[a-z]+:\]|\\.|[^\]\\\s|&;<>()'\"$`{}]){0,500}\]")
_BRACE = pattern(r"\{[^\s{}'\"$`\\;&|<>()]*(?:,|\.\.)[^\s{}'\"$`\\;&|<>()]*\}")


class ShellSyntaxError(ValueError):
    """A script that is not a shell script; `.args` are a message and an offset."""


class WordReader:
    """Reads words from a script.

    State: `pos`, the offset of the next character, and `depth`, how many constructs are open. Only the reader and the
    command parser that extends it move them.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0
        self.depth = 0
        self._no_arithmetic: set[int] = set()

    # The command parser gives the body of `$(…)` and its kin.
    read_substitution: Callable[[], tuple[ast.Node, ...]]

    def fail(self, message: str) -> ShellSyntaxError:
        """An error at the present place."""
        return ShellSyntaxError(message, self.pos)

    def peek(self, length: int = 1) -> str:
        """The next characters; shorter at the end."""
        return self.text[self.pos : self.pos + length]

    def enter(self) -> None:
        """Open a construct."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.fail("too deeply nested")

    def word(self, *, extra_breaks: str = "") -> ast.Word | None:
        """A word, or None where none begins."""
        start = self.pos
        parts: list[ast.Part] = []
        text = self.text
        while self.pos < len(text):
            c = text[self.pos]
            if c in extra_breaks:
                break
            if c in BREAKS:
                if c in "<>" and self.peek(2) in {"<(", ">("}:
                    parts.append(self._process())
                    continue
                break
            parts.append(self._part(c))
        return ast.Word(tuple(parts), start, self.pos) if parts else None

    def _part(self, c: str) -> ast.Part:
        if m := _PLAIN.match(self.text, self.pos):
            self.pos = m.end()
            return ast.Literal(m.group())
        if c == "\\":
            following = self.text[self.pos + 1 : self.pos + 2]
            if not following:
                raise self.fail("escape at the end")
            self.pos += 2
            return ast.Literal("" if following == "\n" else following)
        if c == "'":
            return self._single()
        if c == '"':
            return self._double()
        if c == "$":
            return self._dollar(quoted=False)
        if c == "`":
            return self._backtick(quoted=False)
        if c in "?*@!+" and self.text[self.pos + 1 : self.pos + 2] == "(":
            return self._extglob()
        if c in "*?":
            self.pos += 1
            return ast.Glob(c)
        if c == "[" and (m := _BRACKET.match(self.text, self.pos)):
            self.pos = m.end()
            return ast.Glob(m.group())
        if c == "{" and (m := _BRACE.match(self.text, self.pos)):
            self.pos = m.end()
            return ast.Opaque((), m.group())
        self.pos += 1
        return ast.Literal(c)

    def _single(self) -> ast.SingleQuoted:
        end = self.text.find("'", self.pos + 1)
        if end < 0:
            raise self.fail("unclosed single quote")
        part = ast.SingleQuoted(self.text[self.pos + 1 : end])
        self.pos = end + 1
        return part

    def _double(self, *, translated: bool = False) -> ast.DoubleQuoted:
        self.enter()
        self.pos += 1
        parts: list[ast.Part] = []
        while True:
            c = self.peek()
            if not c:
                raise self.fail("unclosed double quote")
            if c == '"':
                break
            parts.append(self._double_part(c))
        self.pos += 1
        self.depth -= 1
        return ast.DoubleQuoted(tuple(parts), translated)

    def _double_part(self, c: str) -> ast.Part:
        if m := _IN_DOUBLE.match(self.text, self.pos):
            self.pos = m.end()
            return ast.Literal(m.group())
        if c == "\\":
            following = self.text[self.pos + 1 : self.pos + 2]
            self.pos += 1 + len(following)
            if following == "\n":
                return ast.Literal("")
            return ast.Literal(following if following in {"\\", '"', "$", "`"} else "\\" + following)
        if c == "`":
            return self._backtick(quoted=True)
        return self._dollar(quoted=True)

    def _dollar(self, *, quoted: bool) -> ast.Part:
        text, pos = self.text, self.pos
        following = text[pos + 1 : pos + 2]
        if text.startswith("$((", pos):
            found = self._try_arithmetic(pos + 3, "))")
            if found is not None:
                return found
        if following == "(":
            self.pos = pos + 2
            return self._substitution("dollar")
        if following == "[" and (found := self._try_arithmetic(pos + 2, "]")) is not None:
            return found
        if following == "[":
            raise self.fail("unclosed '$['")
        if following == "{":
            return self._braced()
        if not quoted and following == "'":
            return self._dollar_single()
        if not quoted and following == '"':
            self.pos += 1
            return self._double(translated=True)
        if m := _NAME.match(text, pos + 1):
            self.pos = m.end()
            return ast.Parameter((ast.Literal(m.group()),), braced=False)
        if following and (following in "@*#?-$!" or following.isdigit()):
            self.pos = pos + 2
            return ast.Parameter((ast.Literal(following),), braced=False)
        self.pos = pos + 1
        return ast.Literal("$")

    def _dollar_single(self) -> ast.DollarSingleQuoted:
        start = self.pos = self.pos + 2
        while (c := self.peek()) != "'":
            if not c:
                raise self.fail("unclosed single quote")
            self.pos += 2 if c == "\\" else 1
        self.pos += 1
        return ast.DollarSingleQuoted(self.text[start : self.pos - 1])

    def expansion(self) -> ast.Part:
        """The quoted string, variable or substitution that begins here."""
        return self._part(self.peek())

    def _try_arithmetic(self, start: int, closing: str, count: int = 1) -> ast.Arithmetic | None:
        """`count` stretches of arithmetic with `;` between, up to `closing`; None, and nothing is read, where it is
        something else.
        """
        if start in self._no_arithmetic:  # found out before, in a try of something around it
            return None
        before, depth = self.pos, self.depth
        self.pos = start
        parts: list[ast.Part] = []
        try:
            self.enter()
            for number in range(count):
                if number:
                    self._expect(";")
                arithmetic.sequence(self, parts)
            self._expect(closing)
        except ShellSyntaxError:
            self._no_arithmetic.add(start)
            self.pos, self.depth = before, depth
            return None
        self.depth = depth
        return ast.Arithmetic(tuple(parts))

    def _braced(self) -> ast.Part:
        self.enter()
        self.pos += 2
        if self.peek() in {" ", "\t", "\n", "|"}:
            # Korn shell's ${ command; }
            self.pos += 1
            body = self.read_substitution()
            self._expect("}")
            self.depth -= 1
            return ast.Substitution(body, "brace")
        parts: list[ast.Part] = []
        plain = self.pos
        while (c := self.peek()) != "}":
            if not c:
                raise self.fail("unclosed '${'")
            if c in "\"'$`" or (c == "\\"):
                if self.pos > plain:
                    parts.append(ast.Literal(self.text[plain : self.pos]))
                parts.append(self._braced_part(c))
                plain = self.pos
            else:
                self.pos += 1
        if self.pos > plain:
            parts.append(ast.Literal(self.text[plain : self.pos]))
        self.pos += 1
        self.depth -= 1
        return ast.Parameter(tuple(parts), braced=True)

    def _braced_part(self, c: str) -> ast.Part:
        if c == "\\":
            following = self.text[self.pos + 1 : self.pos + 2]
            self.pos += 1 + len(following)
            return ast.Literal(following if following and following in "}\"$`'" else "\\" + following)
        if c == "'":
            end = self.text.find("'", self.pos + 1)
            if end < 0:
                raise self.fail("unclosed single quote")
        return self._part(c)

    def _substitution(self, style: str) -> ast.Substitution:
        self.enter()
        body = self.read_substitution()
        self._expect(")")
        self.depth -= 1
        return ast.Substitution(body, style)

    def _process(self) -> ast.Substitution:
        self.pos += 2
        return self._substitution("process")

    def _backtick(self, *, quoted: bool) -> ast.Substitution:
        self.enter()
        start = self.pos = self.pos + 1
        out: list[str] = []
        while (c := self.peek()) != "`":
            if not c:
                self.pos = start
                raise self.fail("unclosed backtick")
            following = self.text[self.pos + 1 : self.pos + 2]
            if c == "\\" and following and (following in "$`\\" or (quoted and following == '"')):
                out.append(following)
                self.pos += 2
            else:
                out.append(c)
                self.pos += 1
        self.pos += 1
        body = self._inner("".join(out))
        self.depth -= 1
        return ast.Substitution(body, "backtick")

    def _inner(self, script: str) -> tuple[ast.Node, ...]:
        """Parse the text between backticks; what does not parse has no commands."""
        reader = type(self)(script)
        reader.depth = self.depth
        try:
            body = reader.read_substitution()
        except ShellSyntaxError:
            return ()
        return body if reader.pos == len(script) else ()

    def _extglob(self) -> ast.Opaque:
        self.enter()
        start = self.pos
        self.pos += 2
        level = 1
        parts: list[ast.Part] = []
        while level:
            c = self.peek()
            if not c or c == "\n":
                raise self.fail("unclosed extended glob")
            if c == "(":
                level += 1
            elif c == ")":
                level -= 1
            if c in "\"'$`\\":
                parts.append(self._part(c))
            else:
                self.pos += 1
        self.depth -= 1
        return ast.Opaque(tuple(parts), self.text[start : self.pos])

    def _expect(self, closing: str) -> None:
        if not self.text.startswith(closing, self.pos):
            raise self.fail(f"expected '{closing}'")
        self.pos += len(closing)
