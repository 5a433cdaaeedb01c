"""Go's regular expressions (RE2 syntax) in linear time: whether one matches a text, as `Regexp.MatchString` says.

Filters, policies and ignore patterns are defined through these expressions. Python's `re` reads some of them otherwise,
and backtracks: a hostile expression would take exponential time. Here an expression becomes a nondeterministic
automaton (Thompson's construction), which a set of states simulates exactly; the sets met are remembered as the rows of
a table, built as texts are read. The time is that of the text's length times the number of states at the worst, and that
of the text's length once the rows are known.

Only `Finder` tells what a match is, and its groups: it goes through the text with all states at once, in the order in
which Go prefers them. For the others lazy operators are as good as greedy ones.
Scripts (`\\p{Greek}`) are not known here; an expression with one counts as unreadable.

Source of the syntax: https://github.com/google/re2/wiki/Syntax.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

from dockc.base.pattern import pattern
from dockc.base.record import Mutable

Predicate = Callable[[str], bool]

_LITERAL_ESCAPES = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_POSIX_CLASSES: dict[str, str] = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": "\x00-\x7f",
    "blank": "\t ",
    "cntrl": "\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@[-`{-~",
    "space": "\t-\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_PERL_CLASSES = {"d": "0-9", "s": "\t\n\f\r ", "w": "0-9A-Za-z_"}
_CATEGORIES = frozenset("CLMNPSZ") | {
    major + minor
    for major, minors in {
        "C": "cfnos",
        "L": "lmotu",
        "M": "cen",
        "N": "dlo",
        "P": "cdefios",
        "S": "ckmo",
        "Z": "lps",
    }.items()
    for minor in minors
}
_REPEAT = pattern(r"\{(0|[1-9][0-9]*)(,(0|[1-9][0-9]*)?)?\}", re.ASCII)
_FLAGS = pattern(r"\(\?([imsU]*)(?:-([imsU]+))?([:)])")
_NAMED = pattern(r"\(\?P?<([A-Za-z0-9_]+)>")
_HEX = pattern("([0-9A-Fa-f]{2})|{([0-9A-Fa-f]+)}")
_OCTAL = pattern("[0-7]{0,2}")
_MAX_REPEAT = 1000
_MAX_DEPTH = 1000
MOST = 20_000
"""Parts of one expression after its counted repetitions are written out."""

_MAX_CELLS = 1 << 16
"""Remembered transitions of one automaton; beyond it the table starts anew, so memory stays bounded."""

_SURROGATES = pattern("[\ud800-\udfff]")
_WORD = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")
_ORBITS = ("kK\u212a", "sS\u017f", "\xe5\xc5\u212b", "\xb5\u03bc\u039c", "\u03c3\u03c2\u03a3", "\u03c9\u03a9\u2126")
"""Letters that are one but for case, where that is more than two."""


class BadExpression(ValueError):
    """The expression is not valid in RE2 syntax."""


def _not_newline(char: str) -> bool:
    return char != "\n"


def _anything(_: str) -> bool:
    return True


def _equals(wanted: str) -> Predicate:
    return lambda char: char == wanted


def _in_ranges(spec: str) -> Predicate:
    """Membership in a string of single characters and `lo-hi` ranges (it cannot hold a literal -)."""
    ranges: list[tuple[str, str]] = []
    at = 0
    while at < len(spec):
        if spec[at + 1 : at + 2] == "-" and at + 2 < len(spec):
            ranges.append((spec[at], spec[at + 2]))
            at += 3
        else:
            ranges.append((spec[at], spec[at]))
            at += 1
    return lambda char: any(low <= char <= high for low, high in ranges)


def _not(inner: Predicate) -> Predicate:
    return lambda char: not inner(char)


def _folded(inner: Predicate) -> Predicate:
    """Whether a character, or another that is the same but for case, is taken."""

    def accepts(char: str) -> bool:
        others = {char, char.lower(), char.upper(), char.casefold(), char.title()}
        others.update(*(orbit for orbit in _ORBITS if char in orbit))
        return any(len(other) == 1 and inner(other) for other in others)

    return accepts


class _Op(str):
    """A part of an expression in postfix order that is no character: "cat" and "alt" join the two before it, "star",
    "plus" and "maybe" repeat the one before it, "empty" stands for nothing; the others are assertions: "begin" and
    "end" of the text, "line" and "eol" of a line, "word" boundary and "nonword". Where groups are told there are also
    the lazy repetitions ("star?") and the marks ("mark 2", "mark 3") at the beginning and end of each group.
    """

    __slots__ = ()


_Part = _Op | Predicate
_CAT, _ALT, _STAR, _PLUS, _MAYBE, _EMPTY = map(_Op, ("cat", "alt", "star", "plus", "maybe", "empty"))
_LAZY = {kind: _Op(f"{kind}?") for kind in (_STAR, _PLUS, _MAYBE)}
_GREEDY = {lazy: kind for kind, lazy in _LAZY.items()}
_BEGIN, _END, _LINE, _EOL, _BOUNDARY, _INSIDE = map(_Op, ("begin", "end", "line", "eol", "word", "nonword"))


class _Group(Mutable):
    """A group that is being read: its alternatives so far, the last one's atoms in postfix order, and the flags that hold
    outside of it; its number where what it matches is told, or 0.
    """

    flags: frozenset[str]
    branches: list[list[list[_Part]]]
    number: int = 0


class _Parser:
    """Reads an expression into postfix order. The state is `at`, the index of the next character."""

    def __init__(self, expression: str, most: int, *, marks: bool = False) -> None:
        self.text, self.at, self.most, self.marks = expression, 0, most, marks
        self.names: list[str] = [""]  # of the groups, by number
        self.flags: frozenset[str] = frozenset()
        self.size = 0

    def parts(self) -> list[_Part]:
        """The whole expression."""
        stack = [_Group(self.flags, [[]])]
        repeated = False
        while self.at < len(self.text):
            char, atoms = self.text[self.at], stack[-1].branches[-1]
            if char in "*+?" or (char == "{" and _REPEAT.match(self.text, self.at)):
                if repeated:
                    raise BadExpression("invalid nested repetition operator")
                if not atoms:
                    raise BadExpression("missing argument to repetition operator")
                atoms[-1] = self._repeated(atoms[-1])
                repeated = True
                continue
            repeated = False
            if char == "|":
                self.at += 1
                stack[-1].branches.append([])
            elif char == "(":
                self._open(stack)
            elif char == ")":
                if len(stack) == 1:
                    raise BadExpression("unexpected )")
                self.at += 1
                group = stack.pop()
                self.flags = group.flags
                atom = _joined(group.branches)
                if group.number:
                    begin, end = _Op(f"mark {2 * group.number}"), _Op(f"mark {2 * group.number + 1}")
                    self._grow(4)
                    atom = [begin, *atom, _CAT, end, _CAT]
                stack[-1].branches[-1].append(atom)
            else:
                more = self._atom()
                self._grow(sum(map(len, more)))
                atoms += more
        if len(stack) > 1:
            raise BadExpression("missing closing )")
        return _joined(stack[0].branches)

    def _grow(self, size: int) -> None:
        self.size += size
        if self.size > self.most:
            raise BadExpression("expression is too large")

    def _open(self, stack: list[_Group]) -> None:
        if len(stack) > _MAX_DEPTH:
            raise BadExpression("expression nests too deeply")
        if found := _FLAGS.match(self.text, self.at):
            self.at = found.end()
            flags = self.flags | set(found[1])
            if found[2] is not None:
                flags -= set(found[2])
            if found[3] == ")":
                self.flags = flags
                return
            stack.append(_Group(self.flags, [[]]))
            self.flags = flags
            return
        name = ""
        if found := _NAMED.match(self.text, self.at):
            self.at, name = found.end(), found[1]
        elif self.text.startswith("(?", self.at):
            raise BadExpression("invalid or unsupported Perl syntax")
        else:
            self.at += 1
        number = 0
        if self.marks:
            number = len(self.names)
            self.names.append(name)
        stack.append(_Group(self.flags, [[]], number))

    def _repeated(self, atom: list[_Part]) -> list[_Part]:
        """An atom with the repetition that stands here."""
        char = self.text[self.at]
        counted = _REPEAT.match(self.text, self.at) if char == "{" else None
        self.at = counted.end() if counted else self.at + 1
        lazy = self.text.startswith("?", self.at)  # as few as possible: the same for who asks whether there is one
        self.at += lazy
        star, plus, maybe = (_LAZY[kind] if lazy and self.marks else kind for kind in (_STAR, _PLUS, _MAYBE))
        if counted is None:
            self._grow(1)
            return [*atom, {"*": star, "+": plus, "?": maybe}[char]]
        low = int(counted[1]) if len(counted[1]) < 5 else _MAX_REPEAT + 1
        high = low if counted[2] is None else None if counted[3] is None else int(counted[3][:5])
        if low > _MAX_REPEAT or (high is not None and not low <= high <= _MAX_REPEAT):
            raise BadExpression("invalid repeat count")
        copies = low + (1 if high is None else high - low)
        self._grow((copies - 1) * (len(atom) + 2) + 2)
        written = [atom] * low + ([[*atom, star]] if high is None else [[*atom, maybe]] * (high - low))
        return _chained(written)

    def _atom(self) -> list[list[_Part]]:
        """What stands here; several atoms where `\\Q` makes literals of everything up to `\\E`."""
        char = self.text[self.at]
        if char in "^$":
            self.at += 1
            many = "m" in self.flags
            return [[(_LINE if many else _BEGIN) if char == "^" else (_EOL if many else _END)]]
        if char == ".":
            self.at += 1
            return [[_anything if "s" in self.flags else _not_newline]]
        if char == "[":
            self.at += 1
            return [[self._class()]]
        if char != "\\":
            self.at += 1
            return [[self._cased(_equals(char))]]
        kind = self.text[self.at + 1 : self.at + 2]
        assertions = {"A": _BEGIN, "z": _END, "b": _BOUNDARY, "B": _INSIDE}
        if kind in assertions:
            self.at += 2
            return [[assertions[kind]]]
        if kind == "Q":
            quoted, found, _ = self.text[self.at + 2 :].partition("\\E")
            self.at += 2 + len(quoted) + len(found)
            return [[self._cased(_equals(char))] for char in quoted]
        group = self._group()
        return [[group if group is not None else self._cased(_equals(self._character()))]]

    def _cased(self, accepts: Predicate) -> Predicate:
        return _folded(accepts) if "i" in self.flags else accepts

    def _group(self) -> Predicate | None:
        """A class escape (`\\d`, `\\pL` and their negations) at this place, or None."""
        kind = self.text[self.at + 1 : self.at + 2]
        if kind in ("p", "P"):
            return self._unicode_group(negated=kind == "P")
        spec = _PERL_CLASSES.get(kind.lower())
        if spec is None or not kind:
            return None
        self.at += 2
        member = self._cased(_in_ranges(spec))
        return member if kind.islower() else _not(member)

    def _unicode_group(self, *, negated: bool) -> Predicate:
        """`\\pL`, `\\p{Lu}`, `\\p{^Lu}` or `\\p{Any}`."""
        start = self.at + 2
        if self.text.startswith("{", start):
            end = self.text.find("}", start)
            name = self.text[start + 1 : end] if end >= 0 else ""
            self.at = end + 1
        else:
            name = self.text[start : start + 1]
            self.at = start + 1
        if name.startswith("^"):
            negated = not negated
            name = name[1:]
        if name != "Any" and name not in _CATEGORIES:
            raise BadExpression(f"unknown character class {name!r}")

        def member(char: str) -> bool:
            return name == "Any" or unicodedata.category(char).startswith(name)

        found = self._cased(member)
        return _not(found) if negated else found

    def _character(self) -> str:
        """One literal character, escaped or not."""
        text = self.text
        if self.at >= len(text):
            raise BadExpression("expression ends early")
        char = text[self.at]
        self.at += 1
        if char != "\\":
            return char
        if self.at >= len(text):
            raise BadExpression("trailing backslash")
        char = text[self.at]
        self.at += 1
        if char.isascii() and not char.isalnum():
            return char
        if char == "x":
            hexadecimal = _HEX.match(text, self.at)
            if hexadecimal:
                self.at = hexadecimal.end()
                code = int((hexadecimal[1] or hexadecimal[2].lstrip("0") or "0")[:7], 16)
                if code <= 0x10FFFF:
                    return chr(code)
        elif char in "01234567":
            # A single digit other than zero would be a back-reference, which the syntax does not have.
            more = _OCTAL.match(text, self.at)
            digits = char + (more.group() if more else "")
            if char == "0" or len(digits) > 1:
                self.at += len(digits) - 1
                return chr(int(digits, 8))
        elif char in _LITERAL_ESCAPES:
            return _LITERAL_ESCAPES[char]
        raise BadExpression(f"unknown escape \\{char}")

    def _class(self) -> Predicate:
        """The rest of a character class, after its bracket."""
        text = self.text
        negated = text.startswith("^", self.at)
        self.at += negated
        members: list[Predicate] = []
        first = True
        while first or not text.startswith("]", self.at):
            first = False
            if text.startswith("[:", self.at):
                closing = text.find(":]", self.at + 2)
                if closing >= 0:
                    name = text[self.at + 2 : closing]
                    inverted = name.startswith("^")
                    spec = _POSIX_CLASSES.get(name[inverted:])
                    if spec is None:
                        raise BadExpression(f"unknown character class [:{name}:]")
                    member = _in_ranges(spec)
                    members.append(_not(member) if inverted else member)
                    self.at = closing + 2
                    continue
            if text.startswith("\\", self.at):
                group = self._group()
                if group is not None:
                    members.append(group)
                    continue
            low = high = self._character()
            if text.startswith("-", self.at) and self.at + 1 < len(text) and text[self.at + 1] != "]":
                self.at += 1
                high = self._character()
                if high < low:
                    raise BadExpression(f"range {low}-{high} is empty")
            members.append(lambda char, low=low, high=high: low <= char <= high)  # type: ignore[misc]
        self.at += 1

        def member_of_any(char: str) -> bool:
            return any(accepts(char) for accepts in members)

        found = self._cased(member_of_any)
        return _not(found) if negated else found


def _chained(atoms: Sequence[Sequence[_Part]]) -> list[_Part]:
    """Atoms one after the other."""
    out: list[_Part] = list(atoms[0]) if atoms else [_EMPTY]
    for atom in atoms[1:]:
        out += atom
        out.append(_CAT)
    return out


def _joined(branches: Sequence[Sequence[Sequence[_Part]]]) -> list[_Part]:
    """Alternatives of atoms."""
    out = _chained(branches[0])
    for branch in branches[1:]:
        out += _chained(branch)
        out.append(_ALT)
    return out


class _States:
    """The automaton's states.

    Attributes:
        accepts: by state, which characters it takes; None for one that takes none.
        follows: where it leads, the preferred one first: after a character, or at once.
        asserts: the assertion that must hold before a state leads on, by state.
        marks: what is remembered of a place when a state leads on: a group's beginning (2 * number) or its end.
        first: where everything begins.
        last: where it ends.
    """

    def __init__(self, parts: Sequence[_Part]) -> None:
        self.accepts: list[Predicate | None] = []
        self.follows: list[list[int]] = []
        self.asserts: dict[int, str] = {}
        self.marks: dict[int, int] = {}
        stack: list[tuple[int, int]] = []
        for part in parts:
            if not isinstance(part, _Op):
                stack.append(self._pair(part))
            elif part in (_CAT, _ALT):
                (a, b), (c, d) = stack[-2:]
                del stack[-2:]
                stack.append(self._cat(a, b, c, d) if part == _CAT else self._alt(a, b, c, d))
            elif part in _LAZY or part in _GREEDY:
                stack.append(self._repeat(part, *stack.pop()))
            else:
                begin, end = self._pair(None)
                if part.startswith("mark "):
                    self.marks[begin] = int(part[5:])
                elif part != _EMPTY:
                    self.asserts[begin] = str(part)
                stack.append((begin, end))
        self.first, self.last = stack.pop()

    def _new(self, accepts: Predicate | None = None) -> int:
        self.accepts.append(accepts)
        self.follows.append([])
        return len(self.accepts) - 1

    def _pair(self, accepts: Predicate | None) -> tuple[int, int]:
        begin, end = self._new(accepts), self._new()
        self.follows[begin].append(end)
        return begin, end

    def _cat(self, a: int, b: int, c: int, d: int) -> tuple[int, int]:
        self.follows[b].append(c)
        return a, d

    def _alt(self, a: int, b: int, c: int, d: int) -> tuple[int, int]:
        begin, end = self._new(), self._new()
        self.follows[begin] += (a, c)
        self.follows[b].append(end)
        self.follows[d].append(end)
        return begin, end

    def _repeat(self, how: str, a: int, b: int) -> tuple[int, int]:
        begin, end = self._new(), self._new()
        kind = _GREEDY.get(_Op(how), how)
        first = [a] if kind == _PLUS else [a, end]
        again = [end] if kind == _MAYBE else [a, end]
        lazy = kind != how
        self.follows[begin] += reversed(first) if lazy else first
        self.follows[b] += reversed(again) if lazy else again
        return begin, end


class _Row(dict[str, "_Row"]):
    """One set of states after the text so far, and where each next character leads; `found` once all is matched."""

    __slots__ = ("before", "expression", "found", "states")

    def __init__(self, expression: Expression, states: frozenset[int], before: str, found: bool) -> None:
        super().__init__()
        self.expression, self.states, self.before, self.found = expression, states, before, found

    def __missing__(self, char: str) -> _Row:
        return self.expression.step(self, char)


class Expression:
    """One compiled expression.

    The mutable state is the table of rows, which only `step` extends; it holds nothing that changes an answer. Several
    threads may match with one expression.
    """

    def __init__(self, expression: str, most: int = MOST) -> None:
        """Compile `expression`.

        Args:
            expression: in RE2 syntax.
            most: parts that it may have, its counted repetitions written out.

        Raises:
            BadExpression: it is not valid, or too large.
        """
        self._states = _States(_Parser(expression, most).parts())
        # Only some assertions look at the character before; without them all rows forget it, and are fewer.
        kinds = set(self._states.asserts.values())
        self._looks_back = bool(kinds & {_BOUNDARY, _INSIDE, _LINE})
        # What begins with the beginning of the text begins nowhere else, so texts need not be read to their ends.
        self._anchored = self._begins()
        self._rows: dict[tuple[frozenset[int], str, bool], _Row] = {}
        self._cells = 0

    def match(self, text: str) -> bool:
        """Whether some part of `text` matches."""
        if not text.isascii():
            text = _SURROGATES.sub("\ufffd", text)  # a byte that is not UTF-8 reads as the replacement character
        row = self._row(frozenset((self._states.first,)), "", False)
        for char in text:
            row = row[char]
            if row.found:
                return True
            if not row.states:
                return False
        return self._states.last in self._reached(row.states, row.before, "")

    def step(self, row: _Row, char: str) -> _Row:
        """The row after `row` for `char`; remembered in `row`."""
        states = self._states
        alive = self._reached(row.states, row.before, char)
        after: set[int] = set()
        found = states.last in alive
        if not found:
            for state in alive:
                accepts = states.accepts[state]
                if accepts is not None and accepts(char):
                    after.update(states.follows[state])
            if not self._anchored:
                after.add(states.first)
        if self._cells >= _MAX_CELLS:
            self._rows, self._cells = {}, 0
            return self._row(frozenset(after), char, found)
        self._cells += 1
        target = row[char] = self._row(frozenset(after), char, found)
        return target

    def _row(self, states: frozenset[int], before: str, found: bool) -> _Row:
        if before and not self._looks_back:
            before = "."
        row = self._rows.get((states, before, found))
        if row is None:
            row = self._rows[states, before, found] = _Row(self, states, before, found)
        return row

    def _reached(self, begun: frozenset[int], before: str, after: str) -> set[int]:
        """The states that are reached without taking a character, between `before` and `after`."""
        states = self._states
        found = set(begun)
        waiting = list(begun)
        while waiting:
            state = waiting.pop()
            if states.accepts[state] is not None:
                continue
            kind = states.asserts.get(state)
            if kind is not None and not _holds(kind, before, after):
                continue
            for follow in states.follows[state]:
                if follow not in found:
                    found.add(follow)
                    waiting.append(follow)
        return found

    def _begins(self) -> bool:
        """Whether nothing can be matched but from the beginning of the text on."""
        states = self._states
        seen, waiting = {states.first}, [states.first]
        while waiting:
            state = waiting.pop()
            if states.asserts.get(state) == _BEGIN:
                continue
            if states.accepts[state] is not None or state == states.last:
                return False
            waiting += [follow for follow in states.follows[state] if follow not in seen]
            seen.update(states.follows[state])
        return True


def _holds(kind: str, before: str, after: str) -> bool:
    """Whether an assertion holds between two characters, "" where there is none."""
    if kind == _BEGIN:
        return not before
    if kind == _END:
        return not after
    if kind == _LINE:
        return before in ("", "\n")
    if kind == _EOL:
        return after in ("", "\n")
    return ((before in _WORD) != (after in _WORD)) == (kind == _BOUNDARY)


class Finder:
    """One compiled expression that tells where it matches, and what its groups are (`Regexp.FindStringSubmatchIndex`).

    The time is that of the text's length times the number of states at the worst. Never changed once it is made.

    Attributes:
        names: of its groups, "" for those without; the first is the whole match.
    """

    def __init__(self, expression: str, most: int = MOST) -> None:
        """Compile `expression`; see `Expression`.

        Raises:
            BadExpression: it is not valid, or too large.
        """
        parser = _Parser(expression, most, marks=True)
        self._states = _States(parser.parts())
        self.names = tuple(parser.names)

    def find(self, text: str, start: int = 0) -> tuple[int, ...] | None:
        """The first match at `start` or behind it: where the match and each group begin and end, -1 for a group that is
        not there; None where nothing matches.
        """
        states, nowhere = self._states, (-1,) * (2 * len(self.names))
        found: tuple[int, ...] | None = None
        ways: list[tuple[int, tuple[int, ...]]] = []
        for at in range(start, len(text) + 1):
            before, after = text[at - 1 : at] if at else "", text[at : at + 1]
            if found is None:  # to begin here is worth less than all that has begun
                ways.append((states.first, (at, *nowhere[1:])))
            onward: list[tuple[int, tuple[int, ...]]] = []
            for state, places in self._reached(ways, at, before, after):
                if state == states.last:
                    found = (places[0], at, *places[2:])
                    break  # what follows is worth less
                accepts = states.accepts[state]
                if accepts is not None and after and accepts(after):
                    onward += ((follow, places) for follow in states.follows[state])
            ways = onward
            if not ways and found is not None:
                break
        return found

    def _reached(
        self, ways: Sequence[tuple[int, tuple[int, ...]]], at: int, before: str, after: str
    ) -> list[tuple[int, tuple[int, ...]]]:
        """The states that are reached without taking a character, the preferred ones first, each once."""
        states = self._states
        seen: set[int] = set()
        found: list[tuple[int, tuple[int, ...]]] = []
        waiting = list(reversed(ways))
        while waiting:
            state, places = waiting.pop()
            if state in seen:
                continue
            seen.add(state)
            if states.accepts[state] is not None or state == states.last:
                found.append((state, places))
                continue
            kind = states.asserts.get(state)
            if kind is not None and not _holds(kind, before, after):
                continue
            mark = states.marks.get(state)
            if mark is not None:
                places = (*places[:mark], at, *places[mark + 1 :])
            waiting += ((follow, places) for follow in reversed(states.follows[state]))
        return found

    def replaced(self, text: str, by: Callable[[tuple[str, ...]], str]) -> str:
        """`text` with what `by` makes of the groups in the place of each match (`Regexp.ReplaceAllStringFunc`)."""
        out: list[str] = []
        done = at = 0
        while at <= len(text):
            places = self.find(text, at)
            if places is None:
                break
            begin, end = places[:2]
            out.append(text[done:begin])
            if end > done or not begin:
                out.append(by(_groups(text, places)))
            done = end
            at = end if end > at else at + 1
        out.append(text[done:])
        return "".join(out)


def _groups(text: str, places: Sequence[int]) -> tuple[str, ...]:
    return tuple(text[begin:end] if begin >= 0 else "" for begin, end in zip(places[::2], places[1::2], strict=True))
