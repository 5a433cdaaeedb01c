"""Shell scripts to trees: the shell grammar of POSIX (XCU 2.10) with bash's additions.

The parser accepts what bash accepts as far as commands and words go; it does not check names or arithmetic.
It is linear in the script apart from re-reading `((`, and gives up beyond a fixed nesting depth.
"""

from __future__ import annotations

import re

from dockc.linter.shell import ast
from dockc.linter.shell.lexer import ShellSyntaxError, WordReader

__all__ = ["ShellSyntaxError", "parse"]

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)((?:\[[^\]\n]*\])*)\+?=")
_REDIRECT = re.compile(r"(?:\d+|\{[A-Za-z_]\w*\})?(&>>|&>&(?=[\d-])|&>|<<<|<<-|<<|<>|<&|>&|>>|>\||<|>)")
_RESERVED = frozenset(["then", "else", "elif", "fi", "do", "done", "esac", "}"])
_COMPOUND = frozenset(["if", "while", "until", "for", "select", "case", "function", "coproc", "time"])
_DECLARING = frozenset(["declare", "export", "local", "readonly", "typeset"])
_KEYWORD = re.compile(r"[a-z]+(?=[\s;&|()<>\[]|$)|[{}!]")
_BLANKS = re.compile(r"(?:[ \t\r\xa0]|\\\r?\n)*(?:#[^\n]*)?")
_VARIABLE = re.compile(r"\$?[A-Za-z_]\w*", re.ASCII)
_NAMED = re.compile(r"[A-Za-z_]\w*[ \t]+", re.ASCII)
_SUBSHELL = re.compile(r"\([ \t]*[^ \t)]")
_UNARY = re.compile(r"-[A-Za-z]+")
_BINARY = re.compile(r"(?:\\|(?P<quote>['\"]))?(?:-[A-Za-z]+|[=!<>]=|=~|[<>=])(?(quote)(?P=quote))")
_EXPANDS = re.compile(r"[\\$`]")
_SPECIAL = re.compile(r"[\\$`'\"]")
_FUNCTION = re.compile(r"[A-Za-z0-9_:+?\-./^@,][A-Za-z0-9_#:+?\-./^@,]*[ \t]*\([^\n){]*\)")


def parse(text: str) -> ast.Script:
    """Parse a script, up to its end or something that cannot follow a complete command, such as an unmatched `)`.

    Raises:
        ShellSyntaxError: it is not a shell script.
    """
    parser = _Parser(text)
    body = parser.compound_list()
    parser.check_heredocs()
    return ast.Script(text, body, parser.pos == len(text))


class _Parser(WordReader):
    """Adds commands to words. State besides the reader's: heredocs whose bodies begin after the next line break."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._pending: list[tuple[str, bool, list[ast.Part] | None]] = []
        self._in_body = False

    def read_substitution(self) -> tuple[ast.Node, ...]:
        """The commands up to a closing bracket."""
        return self.compound_list()

    # White space and comments

    def blanks(self) -> None:
        """Skip blanks, continuations and a comment, staying on the line."""
        m = _BLANKS.match(self.text, self.pos)
        if m is not None:
            self.pos = m.end()

    def lines(self) -> bool:
        """Skip blanks and line breaks, reading heredoc bodies on the way; whether there was a line break."""
        seen = False
        self.blanks()
        while self.peek() == "\n":
            seen = True
            self.pos += 1
            self._heredoc_bodies()
            self.blanks()
        return seen

    def _heredoc_bodies(self) -> None:
        while self._pending:
            delimiter, tabs, parts = self._pending.pop(0)
            start = self.pos
            while True:
                if self.pos >= len(self.text):
                    raise self.fail("heredoc without end")
                end = self.text.find("\n", self.pos)
                end = len(self.text) if end < 0 else end
                line = self.text[self.pos : end]
                self.pos = min(end + 1, len(self.text))
                if line == delimiter or (line.lstrip("\t") if tabs else line).rstrip(" \t") == delimiter:
                    if parts is not None:
                        self._read_body(parts, start, end - len(line))
                    if self.text[self.pos - 1 : self.pos] == "\n":
                        self.pos -= 1  # The line break separates commands.
                    break

    def _read_body(self, parts: list[ast.Part], start: int, end: int) -> None:
        """Find the expansions in the body of a heredoc. Those of a heredoc inside of one are left out, as ShellCheck
        leaves them out.
        """
        if self._in_body or not _EXPANDS.search(self.text, start, end):
            return
        reader = _Parser(self.text[:end])
        reader.pos, reader.depth, reader._in_body = start, self.depth, True
        while found := _EXPANDS.search(reader.text, reader.pos):
            reader.pos = found.start()
            if found[0] == "\\":
                reader.pos += 2
            elif found[0] == "`":
                parts.append(reader._backtick(quoted=True))
            else:
                parts.append(reader._dollar(quoted=True))

    def check_heredocs(self) -> None:
        """Fail where a heredoc was opened on the last line."""
        if self._pending:
            raise self.fail("heredoc without body")

    # Lists

    def compound_list(self) -> tuple[ast.Node, ...]:
        """Commands separated by `;`, `&` or line breaks, up to something that is not a command."""
        nodes: list[ast.Node] = []
        self.lines()
        while self._at_command():
            node = self._and_or()
            self.blanks()
            separator = self.peek()
            if separator == "&" and self.peek(2) != "&&":
                node = ast.Background(node)
            nodes.append(node)
            if separator == ";" and self.peek(2) == ";;":
                break
            if separator in {";", "&"} and self.peek(2) not in {";;", ";&", "&&"}:
                self.pos += 1
                if separator == "&":
                    self._semicolon()
                self.lines()
            elif not self.lines():
                break
        return tuple(nodes)

    def _semicolon(self) -> None:
        """Go past a `;` where none should be: ShellCheck complains of it and goes on."""
        self.blanks()
        if self.peek() == ";" and self.peek(2) not in {";;", ";&"}:
            self.pos += 1

    def _some(self, what: str) -> tuple[ast.Node, ...]:
        nodes = self.compound_list()
        if not nodes:
            raise self.fail(f"expected a command {what}")
        return nodes

    def _at_command(self) -> bool:
        c = self.peek()
        if not c or c in ")|;&":
            return c == "&" and self.peek(2) == "&>"
        return self._keyword() not in _RESERVED

    def _keyword(self) -> str:
        """The unquoted word here if it stands alone, else ""."""
        m = _KEYWORD.match(self.text, self.pos)
        return m.group() if m else ""

    def _take(self, keyword: str) -> bool:
        if self._keyword() != keyword:
            return False
        self.pos += len(keyword)
        return True

    def _need(self, keyword: str) -> None:
        if not self._take(keyword):
            raise self.fail(f"expected '{keyword}'")

    def _and_or(self) -> ast.Node:
        node = self._pipeline()
        while True:
            self.blanks()
            operator = self.peek(2)
            if operator not in {"&&", "||"}:
                return node
            self.pos += 2
            self.lines()
            if not self._at_command():
                raise self.fail("expected a command")
            node = ast.AndOr(operator, node, self._pipeline())

    def _pipeline(self) -> ast.Node:
        start = self.pos
        while self._take("!"):
            self.blanks()
        commands = [self._command()]
        self.blanks()
        while self.peek() == "|" and self.peek(2) != "||":
            self.pos += 2 if self.peek(2) == "|&" else 1
            self.lines()
            while self._take("!"):
                self.blanks()
            commands.append(self._command())
            self.blanks()
        return commands[0] if len(commands) == 1 else ast.Pipeline(tuple(commands), start, self.pos)

    # Commands

    def _command(self) -> ast.Node:
        self.enter()
        node = self._compound() or self._simple()
        self.depth -= 1
        return node

    def _compound(self) -> ast.Node | None:
        start = self.pos
        keyword = self._keyword()
        words: tuple[ast.Word, ...] = ()
        if keyword in {"if", "while", "until", "{"}:
            self.pos += len(keyword)
            body = getattr(self, {"{": "_group", "if": "_if"}.get(keyword, "_loop"))()
        elif keyword in {"for", "select"}:
            self.pos += len(keyword)
            words, body = self._for()
        elif keyword == "case":
            self.pos += 4
            words, body = self._case()
        elif keyword == "time":
            body = self._time()
        elif self.peek() == "[":
            keyword = "[[" if self.peek(2) == "[[" else "["
            self.pos += len(keyword)
            words, body = self._condition()
        elif keyword == "coproc" and self.text[self.pos + 6 : self.pos + 7] in {"", ";", "\n"}:
            return None
        elif keyword in {"function", "coproc"} and self.text[self.pos + len(keyword)] in " \t":
            self.pos += len(keyword)
            body = self._function() if keyword == "function" else self._coproc()
        elif self.peek() == "(":
            keyword, body = self._parenthesised()
        elif m := _FUNCTION.match(self.text, self.pos):
            self.pos = m.end()
            keyword, body = "function", (self._body(),)
        else:
            return None
        redirects: list[ast.Redirect] = []
        self.blanks()
        while (redirect := self._redirect()) is not None:
            redirects.append(redirect)
            self.blanks()
        return ast.Compound(keyword, words, body, tuple(redirects), start, self.pos)

    def _time(self) -> tuple[ast.Node, ...]:
        """`time` as a command, and the pipeline that it measures."""
        start = self.pos
        self.pos += 4
        word = ast.Word((ast.Literal("time"),), start, self.pos)
        words = [word]
        self.blanks()
        while self.peek() == "-" and (flag := self.word()) is not None:
            words.append(flag)
            self.blanks()
        command = ast.Simple((), tuple(words), (), start, words[-1].end)
        c = self.peek()
        if len(words) > 1 and (not c or c in ";\n"):
            raise self.fail("expected a command")
        return (command, self._pipeline()) if c not in {"\n", "|", ""} and self._at_command() else (command,)

    def _group(self) -> tuple[ast.Node, ...]:
        body = self._some("after '{'")
        self._need("}")
        return body

    def _if(self) -> tuple[ast.Node, ...]:
        body = [*self._some("after 'if'")]
        body += self._then()
        while self._take("elif"):
            body += self._some("after 'elif'")
            body += self._then()
        if self._take("else"):
            self._semicolon()
            body += self._some("after 'else'")
        self._need("fi")
        return tuple(body)

    def _then(self) -> tuple[ast.Node, ...]:
        self._need("then")
        self._semicolon()
        return self._some("after 'then'")

    def _loop(self) -> tuple[ast.Node, ...]:
        return (*self._some("as condition"), *self._do())

    def _do(self) -> tuple[ast.Node, ...]:
        self._need("do")
        self._semicolon()
        body = self._some("after 'do'")
        self._need("done")
        return body

    def _for(self) -> tuple[tuple[ast.Word, ...], tuple[ast.Node, ...]]:
        self.blanks()
        words: list[ast.Word] = []
        if self.peek(2) == "((":
            arithmetic = self._try_arithmetic(self.pos + 2, "))", 3)
            if arithmetic is None:
                raise self.fail("expected '))'")
            words.append(ast.Word((arithmetic,), self.pos, self.pos))
        else:
            name = self.word()
            if name is None or _VARIABLE.fullmatch(self.text, name.start, name.end) is None:
                raise self.fail("expected a variable")
            self.lines()
            if self._take("in"):
                self.blanks()
                while self._keyword() != "do" and (word := self.word()) is not None:
                    words.append(word)
                    self.blanks()
        self.blanks()
        if self.peek() == ";":
            self.pos += 1
        self.lines()
        return tuple(words), (self._group_or_do())

    def _group_or_do(self) -> tuple[ast.Node, ...]:
        return self._group() if self._take("{") else self._do()

    def _case(self) -> tuple[tuple[ast.Word, ...], tuple[ast.Node, ...]]:
        self.blanks()
        subject = self.word()
        if subject is None:
            raise self.fail("expected a word")
        words, body = [subject], list[ast.Node]()
        self.lines()
        self._need("in")
        self.lines()
        while not self._take("esac"):
            if self.peek() == "(":
                self.pos += 1
                self.blanks()
            while True:
                pattern = self.word()
                if pattern is None:
                    raise self.fail("expected a pattern")
                words.append(pattern)
                self.blanks()
                if self.peek() != "|":
                    break
                self.pos += 1
                self.blanks()
            self._expect(")")
            body += self.compound_list()
            terminator = next((t for t in (";;&", ";;", ";&") if self.text.startswith(t, self.pos)), None)
            if terminator is not None:
                self.pos += len(terminator)
                self.lines()
            elif self._keyword() != "esac":
                raise self.fail("expected ';;'")
        return tuple(words), tuple(body)

    def _condition(self) -> tuple[tuple[ast.Word, ...], tuple[ast.Node, ...]]:
        """`[ … ]` and `[[ … ]]` behind the opening bracket: terms joined by operators; the words of all of them."""
        words: list[ast.Word] = []
        before = self.pos
        self.lines()
        if self.pos == before or self.peek() != "]":
            self._terms(words)
        if not self.text.startswith("]", self.pos):
            raise self.fail("expected ']'")
        self.pos += 2 if self.peek(2) == "]]" else 1
        return tuple(words), ()

    def _terms(self, words: list[ast.Word]) -> None:
        while True:
            self._term(words)
            self.lines()
            if self.peek(2) not in {"&&", "||", "-a", "-o"}:
                return
            self.pos += 2
            self.lines()

    def _term(self, words: list[ast.Word]) -> None:
        if self.peek() == "!":
            self.pos += 1
            self.lines()
        if (opening := _escaped(self.text, self.pos, "(")) is not None:
            self.enter()
            self.pos = opening
            self.lines()
            self._terms(words)
            closing = _escaped(self.text, self.pos, ")")
            if closing is None:
                raise self.fail("expected ')'")
            self.pos = closing
            self.depth -= 1
        elif unary := _UNARY.match(self.text, self.pos):
            self.pos = unary.end()
            self.lines()
            words.append(self._operand())
        else:
            words.append(self._operand())
            regex = self.peek(2) == "=~"
            if (end := _binary(self.text, self.pos)) is not None:
                self.pos = end
                self.lines()
                words.append(self._regex() if regex else self._operand())

    def _operand(self) -> ast.Word:
        word = None if self.peek() == "]" else self.word()
        if word is None:
            raise self.fail("expected a word")
        last = word.parts[-1]
        if isinstance(last, ast.Literal) and last.text.endswith("]") and "[" not in self.text[word.start : word.end]:
            raise self.fail("missing space before ']'")
        self.blanks()
        return word

    def _regex(self) -> ast.Word:
        start, level = self.pos, 0
        parts: list[ast.Part] = []
        while c := self.peek():
            if level == 0 and c in " \t\n;&<>)":
                break
            if c == "(":
                level += 1
            elif c == ")":
                level -= 1
            if c in "\\'\"$`":
                parts.append(self._part(c))
            else:
                parts.append(ast.Literal(c))
                self.pos += 1
        if not parts:
            raise self.fail("expected a regular expression")
        self.blanks()
        return ast.Word(tuple(parts), start, self.pos)

    def _function(self) -> tuple[ast.Node, ...]:
        self.blanks()
        if self.word() is None:
            raise self.fail("expected a name")
        self.blanks()
        if self.peek() == "(":
            self.pos += 1
            self.blanks()
            self._expect(")")
        return (self._body(),)

    def _body(self) -> ast.Node:
        """A function's body: ShellCheck takes braces and brackets only."""
        self.lines()
        node = self._compound() if self.peek() in {"{", "("} else None
        if node is None:
            raise self.fail("expected a function body")
        return node

    def _coproc(self) -> tuple[ast.Node, ...]:
        """A compound command, one with a name before it, or a simple command."""
        self.blanks()
        if self.peek() == "(":
            raise self.fail("expected a command")
        name = None if self._keyword() in _COMPOUND else _NAMED.match(self.text, self.pos)
        body = None
        if name is None or not _SUBSHELL.match(self.text, name.end()):
            body = self._compound()
        if body is None and name is not None:
            before, self.pos = self.pos, name.end()
            body = self._compound()
            if body is None:
                self.pos = before
        return (body or self._simple(),)

    def _parenthesised(self) -> tuple[str, tuple[ast.Node, ...]]:
        if self.peek(2) == "((":
            arithmetic = self._try_arithmetic(self.pos + 2, "))")
            if arithmetic is not None:
                word = ast.Word((arithmetic,), self.pos, self.pos)
                return "((", (ast.Compound("((", (word,), (), (), self.pos, self.pos),)
        self.pos += 1
        body = self._some("after '('")
        self._expect(")")
        return "(", body

    def _simple(self) -> ast.Simple:
        start = end = self.pos
        assignments: list[ast.Assignment] = []
        words: list[ast.Word | ast.Assignment] = []
        redirects: list[ast.Redirect] = []
        declaring = False
        while True:
            if (redirect := self._redirect()) is not None:
                redirects.append(redirect)
            elif not words and (assignment := self._assignment()) is not None:
                assignments.append(assignment)
            elif declaring and (assignment := self._assignment()) is not None:
                words.append(assignment)
            elif (word := self.word()) is not None:
                if not words:
                    declaring = self.text[word.start : word.end] in _DECLARING
                words.append(word)
            else:
                break
            end = self.pos
            self.blanks()
        if not (assignments or words or redirects):
            raise self.fail("expected a command")
        return ast.Simple(tuple(assignments), tuple(words), tuple(redirects), start, end)

    def _assignment(self) -> ast.Assignment | None:
        m = _ASSIGNMENT.match(self.text, self.pos)
        if m is None:
            return None
        start = self.pos
        subscript = self._subscript(m.start(2), m.end(2)) if _EXPANDS.search(self.text, m.start(2), m.end(2)) else ()
        self.pos = m.end()
        value = self._array() if self.peek() == "(" else self.word() or ast.Word((), self.pos, self.pos)
        return ast.Assignment(m.group(1), value, start, self.pos, subscript)

    def _subscript(self, start: int, end: int) -> tuple[ast.Part, ...]:
        """The expansions in the subscripts of an assignment."""
        parts: list[ast.Part] = []
        self.pos = start
        while found := _SPECIAL.search(self.text, self.pos, end):
            self.pos = found.start()
            parts.append(self._part(found[0]))
        return tuple(parts)

    def _array(self) -> ast.Word:
        start = self.pos
        self.pos += 1
        self.lines()
        parts: list[ast.Part] = []
        while self.peek() != ")":
            word = self.word()
            if word is None:
                raise self.fail("expected ')'")
            parts += word.parts
            self.lines()
        self.pos += 1
        return ast.Word((ast.Opaque(tuple(parts)),), start, self.pos)

    def _redirect(self) -> ast.Redirect | None:
        m = _REDIRECT.match(self.text, self.pos)
        if m is None or (self.text.startswith("(", m.end()) and m.group(1) in {"<", ">"}):
            return None
        operator = m.group(1)
        self.pos = m.end()
        self.blanks()
        if operator in {"<&", ">&", "&>&"} and (closing := re.compile(r"\d*-|\d+").match(self.text, self.pos)):
            self.pos = closing.end()
            return ast.Redirect(operator, None, [])
        target = self.word()
        if target is None:
            raise self.fail("expected a file name")
        body: list[ast.Part] = []
        if operator in {"<<", "<<-"}:
            delimiter, expands = _delimiter(self.text[target.start : target.end])
            self._pending.append((delimiter, operator == "<<-", body if expands else None))
        return ast.Redirect(operator, target, body)


def _escaped(text: str, at: int, bracket: str) -> int | None:
    """Where a bracket ends that stands for itself, behind a backslash, or in quotes; None where there is none."""
    for form in (bracket, f"\\{bracket}", f"'{bracket}'", f'"{bracket}"'):
        if text.startswith(form, at):
            return at + len(form)
    return None


def _binary(text: str, at: int) -> int | None:
    """Where a comparison operator ends, or None."""
    m = _BINARY.match(text, at)
    return None if m is None or m.group().strip("\\'\"") in {"-a", "-o"} else m.end()


def _delimiter(text: str) -> tuple[str, bool]:
    """A heredoc's delimiter, and whether the body is expanded. Quotes count around the whole word only, as they do for
    ShellCheck.
    """
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1], False
    return text.replace("\\", ""), "\\" not in text
