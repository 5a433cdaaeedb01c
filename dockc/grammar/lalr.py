"""A small driver for the LALR tables in `dockc.grammar.tables`.

The tables are made from the `.lark` files by `python -m dockc.grammar.generate`; this module needs nothing of Lark.
The lexer is contextual: in each state only terminals that the state can take are looked for. The stack is a list,
so nesting in the input costs memory, not recursion; time is linear in the number of tokens.
"""

from __future__ import annotations

from dockc.base import pattern as patterns
from dockc.base.record import NamedTuple
from dockc.golang.strings import NUMBER_LIKE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Mapping, Sequence

    #: What a state does at a terminal: a state to shift to (>= 0), or ~rule to reduce by (< 0). `*` stands for the
    #: only action of a state that needs no lookahead: a reduction, or 0 to accept.
    Actions = Mapping[str, int]
    Handler = Callable[[str, str, int, int], None]
    Matcher = Callable[[str, int], re.Match[str] | None]

END = "$END"


class Grammar(NamedTuple):
    """The generated tables of one grammar file.

    Attributes:
        terminals: name to regular expression, in order of precedence. Two backslashes stand for the escape
            character in all but those named in `literal`.
        literal: names of terminals in which backslashes are just that.
        rules: left side, number of symbols on the right side.
        states: for each state its actions by terminal and its successor by nonterminal.
        starts: start rule to its first state.
    """

    terminals: Mapping[str, str]
    literal: frozenset[str]
    rules: Sequence[tuple[str, int]]
    states: Sequence[Actions]
    starts: Mapping[str, int]


class Failure(NamedTuple):
    """Where and why a parse stopped: the offset, and the terminals that could have stood there."""

    offset: int
    expected: frozenset[str]


def _escaped(character: str) -> str:
    """A character as it stands in a pattern."""
    return character if character.isalnum() or character in "_`" else f"\\{character}"


class Parser:
    """The tables of a grammar made ready for one escape character.

    Mutable state: the table of compiled lexers, filled as states are met.

    Args:
        grammar: the tables.
        escape: the escape character.
        ascii_only: the texts will be ASCII. Otherwise `\\w` means letters, decimal digits and underscore of Unicode.
    """

    def __init__(self, grammar: Grammar, escape: str, ascii_only: bool) -> None:
        self._flags = patterns.ASCII if ascii_only else patterns.UNICODE
        self._rules = grammar.rules
        self._states = grammar.states
        self._starts = grammar.starts
        word = r"\w" if ascii_only else rf"(?:(?![{NUMBER_LIKE}])\w)"
        self._patterns = {
            name: pattern if name in grammar.literal else pattern.replace("\\\\", _escaped(escape)).replace(r"\w", word)
            for name, pattern in grammar.terminals.items()
        }
        self._lexers: list[Matcher | None] = [None] * len(grammar.states)
        self._shared: dict[str, Matcher] = {}
        self._terminals: dict[str, re.Pattern[str]] = {}
        self._only = [actions.get("*") for actions in grammar.states]

    def _lexer(self, state: int) -> Matcher:
        """The matcher of all terminals that a state takes; states that take the same share it."""
        actions = self._states[state]
        pattern = "|".join(f"(?P<{n}>{p})" for n, p in self._patterns.items() if n in actions) or r"(?!)"
        match = self._shared.get(pattern)
        if match is None:
            match = self._shared[pattern] = patterns.compiler(pattern, self._flags).match
        self._lexers[state] = match
        return match

    def terminal(self, name: str) -> re.Pattern[str]:
        """The expression of one terminal, for rules that are rows of it and of separators, which need no states."""
        found = self._terminals.get(name)
        if found is None:
            found = self._terminals[name] = patterns.compiler(self._patterns[name], self._flags)
        return found

    def run(self, start: str, text: str, at: int, handler: Handler) -> Failure | int:
        """Parse `text` from `at`, calling `handler(terminal, value, start, end)` for each token in order.

        A prefix is enough: parsing ends at the first place where no token matches and the rule is complete.

        Returns:
            The offset after the last token, or where it failed.
        """
        states, rules, lexers, only = self._states, self._rules, self._lexers, self._only
        state = self._starts[start]
        stack = [state]
        kind, match = "", None
        while True:
            action = only[state]
            if action is None:
                if match is None:
                    match = (lexers[state] or self._lexer(state))(text, at)
                    kind = END if match is None else match.lastgroup or ""
                action = states[state].get(kind)
                if action is None:
                    return Failure(at, frozenset(n for n in states[state] if n in self._patterns))
                if action >= 0 and match is not None:
                    end = match.end()
                    handler(kind, match[0], at, end)
                    at, match, state = end, None, action
                    stack.append(state)
                    continue
            elif action == 0:
                return at
            left, length = rules[~action]
            if length:
                del stack[-length:]
            state = states[stack[-1]][left]
            stack.append(state)
