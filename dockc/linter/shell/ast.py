"""The tree of a shell script: words, commands and what holds them, as far as lint rules look at them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dockc.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias


class Literal(Record):
    """Unquoted or double-quoted text with its escapes removed."""

    text: str


class SingleQuoted(Record):
    """`'text'`."""

    text: str


class DollarSingleQuoted(Record):
    """`$'text'`; `text` is as written, escapes not decoded."""

    text: str


class DoubleQuoted(Record):
    """`"parts"`; `translated` for `$"parts"`."""

    parts: tuple[Part, ...]
    translated: bool = False


class Glob(Record):
    """`*`, `?` or a bracket expression."""

    text: str


class Parameter(Record):
    """`$name` (`braced` False) or `${name…}`; `parts` is what stands between the braces."""

    parts: tuple[Part, ...]
    braced: bool


class Arithmetic(Record):
    """`$((…))` or `$[…]`; `parts` are the expansions in it."""

    parts: tuple[Part, ...]


class Substitution(Record):
    """`$(…)`, or with `style` "backtick" or "process", `` `…` `` or `<(…)`."""

    body: tuple[Node, ...]
    style: str = "dollar"


class Opaque(Record):
    """Brace expansions and extended globs: no text that a rule could know; `parts` for what is nested in them."""

    parts: tuple[Part, ...]
    text: str = ""


Part: TypeAlias = (
    "Literal | SingleQuoted | DollarSingleQuoted | DoubleQuoted | Glob | Parameter | Arithmetic | Substitution | Opaque"
)


class Word(Record):
    """Parts that stand together, and where: offsets into the script, `end` exclusive."""

    parts: tuple[Part, ...]
    start: int
    end: int


class Assignment(Record):
    """`name=value`, `name+=value` or `name[index]=value`; `value` is empty parts for nothing, `subscript` has what is
    expanded in the index.
    """

    name: str
    value: Word
    start: int
    end: int
    subscript: tuple[Part, ...] = ()


class Redirect(Record):
    """A redirection.

    Attributes:
        operator: `>`, `<<` and so on.
        target: None for `<&-` and its kin.
        body: the expansions in a heredoc's body; there only once the body has been read.
    """

    operator: str
    target: Word | None
    body: list[Part]


class Simple(Record):
    """A simple command. Words of declaring builtins may be assignments."""

    assignments: tuple[Assignment, ...]
    words: tuple[Word | Assignment, ...]
    redirects: tuple[Redirect, ...]
    start: int
    end: int


class Pipeline(Record):
    """Commands joined by `|` or `|&`."""

    commands: tuple[Node, ...]
    start: int
    end: int


class AndOr(Record):
    """`left && right` or `left || right`."""

    operator: str
    left: Node
    right: Node


class Background(Record):
    """`command &`."""

    command: Node


class Compound(Record):
    """A compound command or function: keyword, the words of its head, the parts of its body, its redirects."""

    keyword: str
    words: tuple[Word, ...]
    body: tuple[Node, ...]
    redirects: tuple[Redirect, ...]
    start: int
    end: int


Node: TypeAlias = "Simple | Pipeline | AndOr | Background | Compound"


class Script(Record):
    """A parsed script; `complete` is False where something behind its commands could not be read."""

    text: str
    body: tuple[Node, ...]
    complete: bool = True


def walk(script: Script) -> Iterator[Simple | Pipeline]:
    """All simple commands and pipelines, outer before inner and in the order written, substitutions included."""
    stack: list[object] = list(reversed(script.body))
    while stack:
        node = stack.pop()
        kind = type(node)
        if kind in _LEAVES:
            continue
        if kind is Simple or kind is Pipeline:
            yield node  # type: ignore[misc]
        stack.extend(reversed(_children(node)))


_LEAVES = frozenset([Literal, SingleQuoted, DollarSingleQuoted, Glob])


def _children(node: object) -> Sequence[object]:
    match node:
        case Word() | DoubleQuoted() | Parameter() | Arithmetic() | Opaque():
            return [part for part in node.parts if type(part) not in _LEAVES]
        case Simple():
            targets = _redirected(node.redirects) if node.redirects else []
            return [*targets, *node.assignments, *node.words]
        case Pipeline():
            return node.commands
        case AndOr():
            return (node.left, node.right)
        case Background():
            return (node.command,)
        case Compound():
            return [*_redirected(node.redirects), *node.words, *node.body]
        case Assignment():
            return (*node.subscript, node.value)
        case Substitution():
            return node.body
        case _:
            return ()


def _redirected(redirects: Sequence[Redirect]) -> list[object]:
    found: list[object] = []
    for redirect in redirects:
        if redirect.target is not None:
            found.append(redirect.target)
        found += redirect.body
    return found
