"""The value of `RUN --mount`: comma separated options, checked as the reference checks them.

Source: BuildKit's frontend/dockerfile/instructions/commands_runmount.go.
"""

from __future__ import annotations

from dockc.base.record import NamedTuple
from dockc.compiler.suggest import nearest
from dockc.compiler.syntax.ast import Word
from dockc.errors import CompileError, Fault
from dockc.golang.numbers import NumberError, parse_bool, parse_size, parse_uint
from dockc.golang.strings import lower, quote
from dockc.grammar.options import BadOptions, options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Expander = Callable[[Word], str]

#: Mount types, and the sharing modes of cache mounts.
TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARING = ("shared", "private", "locked")
_KEYS = (
    "type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode", "uid", "gid",
    "src", "dst", "destination", "ro", "rw", "readwrite", "env",
)  # fmt: skip
_WITH_FILE_INFO = frozenset({"secret", "ssh", "cache"})


class Mount(NamedTuple):
    """A mount.

    Attributes:
        type: one of `TYPES`.
        from_: stage, image or named context to mount from, "" for the build context.
        source, target: paths.
        readonly: as asked for, or the default of the type (read only for all but cache and tmpfs).
        size_limit: bytes, 0 for none.
        cache_id: `id`.
        sharing: one of `SHARING`, "" for the default.
        required: of secret and ssh mounts.
        env: name of the environment variable of a secret; "" asks for the default name; None for none.
        mode, uid, gid: of the mounted file or directory, None for the default.
    """

    type: str = "bind"
    from_: str = ""
    source: str = ""
    target: str = ""
    readonly: bool = True
    size_limit: int = 0
    cache_id: str = ""
    sharing: str = ""
    required: bool = False
    env: str | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


def parse_mount(word: Word, expander: Expander | None) -> Mount:
    """Read the value of a `--mount` flag.

    Args:
        word: the value, as written.
        expander: expands variables in one word. None for the parse phase, in which only `from` is looked at,
            since everything else may hold variables.

    Raises:
        CompileError: with the reference's words. What `expander` raises passes through, with its place in the mount.
    """
    try:
        found = options(word.text)
    except BadOptions as error:
        raise CompileError(f"failed to parse csv mounts: {error}", fault=Fault("bad-mount/csv", word)) from None
    builder = _Builder(word)
    for option, start, end in found:
        builder.start, builder.end = start, end
        key, equals, value = option.partition("=")
        key = lower(key)
        if not equals:
            if expander is not None:
                builder.bare(key, option)
            continue
        builder.written = value
        if expander is not None:
            try:
                value = expander(Word(value, word.span))
            except CompileError as error:
                error.fault = error.fault.inside(word, end - len(value))
                raise
        elif key != "from":
            continue
        elif 0 <= value.find("$") < len(value) - 1:
            raise CompileError(
                f"'{key}' doesn't support variable expansion, define alias stage instead",
                fault=Fault("variable-in-from/mount", word, (start, end)),
            )
        builder.option(key, value, option)
    return builder.finish()


def option_part(word: Word, *keys: str) -> tuple[int, int] | None:
    """Where in a mount the value of its first option with one of these keys stands; None where it has none."""
    try:
        found = options(word.text)
    except BadOptions:
        return None
    for option, start, end in found:
        key, equals, value = option.partition("=")
        if lower(key) in keys:
            return (end - len(value), end) if equals else (start, end)
    return None


class _Builder:
    """A mount in the making.

    Its state: the options read so far, and of the one that is read its place in the mount and its value as written.
    """

    def __init__(self, word: Word) -> None:
        self.word = word
        self.values: dict[str, Any] = {}
        self.type = "bind"
        self.start = self.end = 0
        self.written = ""

    def _value(self, way: str, *values: str) -> Fault:
        return Fault(f"bad-mount/{way}", self.word, (self.end - len(self.written), self.end), values)

    def _key(self, key: str, way: str, *values: str) -> Fault:
        return Fault(f"bad-mount/{way}", self.word, (self.start, self.start + len(key)), values)

    def _of(self, way: str, *keys: str) -> Fault:
        return Fault(f"bad-mount/{way}", self.word, option_part(self.word, *keys))

    def bare(self, key: str, option: str) -> None:
        """An option without a value."""
        if key in ("readonly", "ro"):
            self.values["readonly"] = True
        elif key in ("readwrite", "rw"):
            self.values["readonly"] = False
        elif key == "required":
            self._only_for(key, "secret", "ssh")
            self.values["required"] = True
        else:
            fault = Fault("bad-mount/no-value", self.word, (self.start, self.end), (option,))
            raise CompileError(f"invalid field '{option}' must be a key=value pair", fault=fault)

    def option(self, key: str, value: str, option: str) -> None:
        """An option with a value."""
        values = self.values
        match key:
            case _ if key in _FIELDS:
                values[_FIELDS[key]] = value
            case "type":
                self.type = _choice("mount type", value, TYPES, self._value("type"))
            case "sharing":
                values["sharing"] = _choice("sharing value", value, SHARING, self._value("sharing"))
            case "readonly" | "ro":
                values["readonly"] = self._bool(key, value)
            case "readwrite" | "rw":
                values["readonly"] = not self._bool(key, value)
            case "required":
                self._only_for(key, "secret", "ssh")
                values["required"] = self._bool(key, value)
            case "size":
                self._only_for(key, "tmpfs")
                try:
                    values["size_limit"] = parse_size(value)
                except ValueError:
                    raise CompileError(f"invalid value for {key}: {value}", fault=self._value("size")) from None
            case "mode" | "uid" | "gid":
                try:
                    values[key] = parse_uint(value, base=8 if key == "mode" else 10, bits=32)
                except NumberError:
                    fault = self._value("mode" if key == "mode" else "id")
                    raise CompileError(f"invalid value {value} for {key}", fault=fault) from None
            case _:
                message = f"unexpected key '{key}' in '{option}'"
                raise suggested(message, nearest(key, _KEYS), self._key(key, "option"))

    def _only_for(self, key: str, *types: str) -> None:
        if self.type not in types:
            fault = self._key(key, "other-type", key, self.type)
            raise CompileError(f"unexpected key '{key}' for mount type '{self.type}'", fault=fault)

    def _bool(self, key: str, value: str) -> bool:
        try:
            return parse_bool(value)
        except NumberError:
            raise CompileError(f"invalid value for {key}: {value}", fault=self._value("bool")) from None

    def _named(self, key: str, way: str, *values: str) -> Fault:
        """A fault in the key of the first option of that name."""
        found = option_part(self.word, key)
        at = self.word.text.lower().rfind(key, 0, found[0]) if found else -1
        return Fault(f"bad-mount/{way}", self.word, (at, at + len(key)) if at >= 0 else None, values)

    def finish(self) -> Mount:
        """The mount, checked as a whole."""
        kind = self.type
        if kind not in _WITH_FILE_INFO:
            for name in ("mode", "uid", "gid"):
                if name in self.values:
                    raise CompileError(
                        f"{name} not allowed for {quote(kind)} type mounts", fault=self._named(name, "owner", name)
                    )
        self.values.setdefault("readonly", kind not in ("cache", "tmpfs"))
        mount = Mount(type=kind, **self.values)
        if kind == "secret":
            if mount.from_:
                raise CompileError("secret mount should not have a from", fault=self._of("secret-from", "from"))
            if mount.sharing:
                raise CompileError("secret mount should not define sharing", fault=self._of("only-cache", "sharing"))
            if not mount.source and not mount.target and not mount.cache_id:
                raise CompileError(
                    "invalid secret mount. one of source, target required", fault=Fault("bad-mount/no-id", self.word)
                )
            if mount.source and mount.cache_id:
                raise CompileError("both source and id can't be set", fault=self._of("two-ids", "source", "src"))
        if mount.sharing and kind != "cache":
            raise CompileError(
                f"invalid cache sharing set for {kind} mount", fault=self._named("sharing", "only-cache")
            )
        return mount


_FIELDS = {
    "from": "from_",
    "source": "source",
    "src": "source",
    "target": "target",
    "dst": "target",
    "destination": "target",
    "id": "cache_id",
    "env": "env",
}


def _choice(what: str, value: str, allowed: tuple[str, ...], fault: Fault) -> str:
    known = lower(value)
    if known in allowed:
        return known
    best = nearest(value, allowed)
    raise suggested(f"unsupported {what} {quote(value)}", best, fault, ties(value, best, allowed))


def ties(value: str, best: str, options: tuple[str, ...], *, ignore_case: bool = False) -> tuple[str, ...]:
    """All options that are as near to `value` as the best one; the reference takes any of them."""
    if not best:
        return ()
    found = []
    for option in options:
        alone = nearest(value, (option,), ignore_case=ignore_case)
        if alone and alone == nearest(value, (option, best), ignore_case=ignore_case):
            found.append(alone)
    return tuple(found)


def suggested(message: str, best: str, fault: Fault, equals: tuple[str, ...] = ()) -> CompileError:
    """An error that asks whether `best` was meant; `equals` are the other names that were as near."""
    if not best:
        return CompileError(message, fault=fault)
    variants = tuple(f"{message} (did you mean {name}?)" for name in equals) if len(equals) > 1 else ()
    return CompileError(f"{message} (did you mean {best}?)", fault=fault, suggestion=best, alternatives=variants)
