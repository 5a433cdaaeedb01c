"""The part of Go's text/template that `--format` of BuildKit's and docker's clients is used with.

    {{.Field}}  {{.Inner.Field}}  {{.}}          values
    {{json .}}  {{len .Parents}}  {{join .Parents ", "}}  {{upper .Type}}  {{lower .Type}}
    {{range .Parents}}...{{else}}...{{end}}   {{if .Shared}}...{{else if .Mutable}}...{{else}}...{{end}}   {{with .X}}...{{end}}
    {{not .Shared}}  {{and .A .B}}  {{or .A .B}}  {{eq .Type "regular"}}  {{ne ...}}  {{.Type | upper}}  {{- trimmed -}}

What else templates have (variables, definitions, comparisons of size) is refused by name.

Source: https://pkg.go.dev/text/template, and docker/cli's templates package for the functions.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dockc.base.pattern import pattern
from dockc.base.record import Record

_ACTION = pattern(r"\{\{(-(?=\s))?\s*((?:\"(?:[^\"\\]|\\.)*\"|`[^`]*`|[^\"`])*?)\s*((?<=\s)-)?\}\}")
_WORD = pattern(r"\s*(\"(?:[^\"\\]|\\.)*\"|`[^`]*`|\||\(|\)|[^\s|()\"`]+)")
_PATH = pattern(r"\.|(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
_ESCAPE = pattern(r"\\(.)")
_DEEPEST = 50


class TemplateError(ValueError):
    """A text that is no template, or asks for what is not there."""


class Struct(Record):
    """A value with fields, as templates see it.

    Attributes:
        fields: by name.
        tags: names in JSON, where they are others.
        brief: JSON leaves out what is empty.
        text: how it prints, or "" for its fields in braces.
    """

    fields: Mapping[str, Any]
    tags: Mapping[str, str] | None = None
    brief: bool = False
    text: str = ""


class NoList(tuple[Any, ...]):
    """A list that nobody made: it prints as an empty one, and is null in JSON."""

    __slots__ = ()


def _json(value: Any) -> Any:
    if isinstance(value, NoList):
        return None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Struct):
        tags = value.tags or {}
        fields = value.fields.items()
        return {tags.get(name, name): _json(inner) for name, inner in fields if inner or not value.brief}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_json(inner) for inner in value]
    if isinstance(value, Mapping):
        return {str(name): _json(inner) for name, inner in sorted(value.items())}
    if isinstance(value, Moment):
        return value.rfc3339
    return value


class Moment(Record):
    """A time: how it prints, and how it stands in JSON."""

    text: str
    rfc3339: str


def shown(value: Any) -> str:
    """A value as a template prints it."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Moment):
        return value.text
    if isinstance(value, Struct):
        return value.text or "{" + " ".join(shown(inner) for inner in value.fields.values()) + "}"
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{name}:{shown(value[name])}" for name in sorted(value)) + "]"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + " ".join(shown(inner) for inner in value) + "]"
    return str(value)


def _dump(value: Any) -> str:
    return json.dumps(_json(value), ensure_ascii=False, separators=(",", ":"))


def _joined(values: Any, separator: Any) -> str:
    return str(separator).join(shown(one) for one in values or ())


def _same(first: Any, *others: Any) -> bool:
    return any(first == one for one in others)


def _first(wanted: bool) -> Callable[..., Any]:
    def choose(*values: Any) -> Any:
        return next((one for one in values[:-1] if bool(one) is wanted), values[-1])

    return choose


_FUNCTIONS: dict[str, tuple[int, int, Callable[..., Any]]] = {  # the least and most values, and what is done
    "json": (1, 1, _dump),
    "len": (1, 1, len),
    "join": (2, 2, _joined),
    "upper": (1, 1, lambda value: shown(value).upper()),
    "lower": (1, 1, lambda value: shown(value).lower()),
    "not": (1, 1, lambda value: not value),
    "and": (1, 9, _first(wanted=False)),
    "or": (1, 9, _first(wanted=True)),
    "eq": (2, 9, _same),
    "ne": (2, 2, lambda first, second: first != second),
    "print": (0, 9, lambda *values: "".join(map(shown, values))),
    "println": (0, 9, lambda *values: " ".join(map(shown, values)) + "\n"),
}
_Value = Callable[[Any], Any]
_Node = Callable[[Any], str]


class Template:
    """A template; `render` puts values in."""

    def __init__(self, text: str) -> None:
        """Read it.

        Raises:
            TemplateError: it is none.
        """
        self._parts = _split(text)
        self._at = 0
        self._nodes, end = self._list(0)
        if end:
            raise TemplateError(f"template: unexpected {{{{{end}}}}}")

    def render(self, value: Any) -> str:
        """The text for a value: a `Struct`, a list of them, or anything JSON has.

        Raises:
            TemplateError: it asks for a field that is not there.
        """
        return "".join(node(value) for node in self._nodes)

    def _list(self, depth: int) -> tuple[list[_Node], str]:
        """Nodes up to an `end` or `else` of who called; the word itself."""
        if depth > _DEEPEST:
            raise TemplateError("template: nested too deep")
        nodes: list[_Node] = []
        while self._at < len(self._parts):
            literal, action = self._parts[self._at]
            self._at += 1
            if literal:
                nodes.append(lambda _, literal=literal: literal)  # type: ignore[misc]
            if action is None or action.startswith("/*"):
                continue
            word, _, rest = action.partition(" ")
            if word == "end" or word == "else":
                return nodes, action
            if word in {"if", "with", "range"}:
                nodes.append(self._block(word, rest, depth))
            elif word in {"define", "template", "block", "break", "continue"} or action.startswith("$"):
                raise TemplateError(f"template: {{{{{word}}}}} is not supported")
            else:
                nodes.append(_printing(_pipeline(action)))
        return nodes, ""

    def _block(self, word: str, condition: str, depth: int) -> _Node:
        value = _pipeline(condition)
        inner, end = self._list(depth + 1)
        other: list[_Node] = []
        if end.startswith("else "):
            again, _, rest = end.removeprefix("else ").strip().partition(" ")
            if again not in {"if", "with"}:
                raise TemplateError(f"template: unexpected {{{{{end}}}}}")
            other, end = [self._block(again, rest, depth + 1)], "end"
        elif end == "else":
            other, end = self._list(depth + 1)
        if end != "end":
            raise TemplateError(f"template: {{{{{word}}}}} has no {{{{end}}}}")

        def run(dot: Any) -> str:
            found = value(dot)
            if word == "range" and found:
                return "".join(node(one) for one in found for node in inner)
            if word != "range" and found:
                return "".join(node(found if word == "with" else dot) for node in inner)
            return "".join(node(dot) for node in other)

        return run


def _split(text: str) -> list[tuple[str, str | None]]:
    """Pairs of literal text and the action behind it."""
    out: list[tuple[str, str | None]] = []
    at, trim = 0, False
    for found in _ACTION.finditer(text):
        literal = text[at : found.start()]
        literal = literal.lstrip() if trim else literal
        out.append((literal.rstrip() if found[1] else literal, found[2].strip()))
        at, trim = found.end(), bool(found[3])
    rest = text[at:]
    if "{{" in rest:
        raise TemplateError("template: unclosed action")
    out.append((rest.lstrip() if trim else rest, None))
    return out


def _printing(value: _Value) -> _Node:
    return lambda dot: shown(value(dot))


def _pipeline(text: str) -> _Value:
    words: list[str] = []
    at = 0
    while at < len(text):
        found = _WORD.match(text, at)
        if found is None:
            break
        words.append(found[1])
        at = found.end()
    if text[at:].strip():
        raise TemplateError(f"template: cannot read {text!r}")
    value, rest = _commands(words, 0)
    if rest:
        raise TemplateError(f"template: unexpected ) in {text!r}")
    return value


def _commands(words: list[str], depth: int) -> tuple[_Value, list[str]]:
    """A pipeline up to the end or a closing bracket, and what follows it."""
    if depth > _DEEPEST:
        raise TemplateError("template: nested too deep")
    last: _Value | None = None
    while True:
        values: list[_Value] = []
        function = ""
        while words and words[0] not in {"|", ")"}:
            word, words = words[0], words[1:]
            if word == "(":
                inner, words = _commands(words, depth + 1)
                if words[:1] != [")"]:
                    raise TemplateError("template: unclosed left paren")
                values.append(inner)
                words = words[1:]
            elif word in _FUNCTIONS and not values and not function:
                function = word
            else:
                values.append(_operand(word))
        if last is not None:
            if not function and not values:
                raise TemplateError("template: a value is expected behind |")
            values.append(last)
        last = _call(function, values)
        if words[:1] != ["|"]:
            return last, words
        words = words[1:]


def _call(function: str, values: list[_Value]) -> _Value:
    if not function:
        if len(values) != 1:
            raise TemplateError("template: a value is expected, and one alone")
        return values[0]
    least, most, made = _FUNCTIONS[function]
    if not least <= len(values) <= most:
        raise TemplateError(f"template: wrong number of args for {function}")

    def run(dot: Any) -> Any:
        given = [value(dot) for value in values]
        try:
            return made(*given)
        except TypeError:
            raise TemplateError(f"template: {function} cannot be applied to {shown(given[-1])!r}") from None

    return run


def _operand(word: str) -> _Value:
    if word[0] in '"`':
        text = word[1:-1] if word[0] == "`" else _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[0]), word[1:-1])
        return lambda _: text
    if word in {"true", "false"}:
        return lambda _: word == "true"
    if word.removeprefix("-").isdecimal():
        number = int(word)
        return lambda _: number
    if _PATH.fullmatch(word):
        names = [name for name in word.split(".") if name]
        return lambda dot: _walk(dot, names)
    if word.isidentifier():
        raise TemplateError(f'template: function "{word}" not defined')
    raise TemplateError(f"template: {word} is not supported")


def _walk(value: Any, names: list[str]) -> Any:
    for name in names:
        fields = value.fields if isinstance(value, Struct) else value
        if not isinstance(fields, Mapping):
            raise TemplateError(f"template: can't evaluate field {name}")
        if name not in fields:
            known = ", ".join(fields)
            raise TemplateError(f"template: can't evaluate field {name}; there are {known}")
        value = fields[name]
    return value
