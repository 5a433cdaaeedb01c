"""Completion: what could stand at a place, told from the text before it; the file need not parse.

line start          instructions
`--`                flags of the instruction
`--from=`, FROM     stages above, and images that are known
`--mount=`          types and keys of mounts
`$`, `${`, ARG      variables
COPY, ADD           files of the context
comments            directives, codes of rules
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from dockc.compiler.explain.instructions import INSTRUCTIONS
from dockc.compiler.syntax import ast
from dockc.grammar.source import Span
from dockc.lsp.features import instruction_markdown
from dockc.lsp.item import Item
from dockc.lsp.names import GLOBAL, PLATFORM_ARGS

if TYPE_CHECKING:
    from dockc.lsp.features import Document

_MOUNT_TYPES = {
    "bind": "A directory of the context, a stage or an image; writes are thrown away.",
    "cache": "A directory that outlives the build and is no part of the image.",
    "tmpfs": "Memory.",
    "secret": "A secret, given with `--secret`; never in the image.",
    "ssh": "The socket of an SSH agent, given with `--ssh`.",
}
#: Keys by type (BuildKit, `frontend/dockerfile/instructions/commands_runmount.go`); other names of a key are in
#: `_SAME_KEY`.
_KEYS_OF = {
    "bind": ("target", "source", "from", "readwrite"),
    "cache": ("target", "id", "sharing", "from", "source", "mode", "uid", "gid", "readonly"),
    "tmpfs": ("target", "size"),
    "secret": ("id", "target", "env", "required", "mode", "uid", "gid"),
    "ssh": ("id", "target", "required", "mode", "uid", "gid"),
}
_SAME_KEY = {"dst": "target", "destination": "target", "src": "source", "ro": "readonly", "rw": "readwrite"}
_KEY_DOCS = {
    "target": "Where it is mounted.", "source": "The path in what `from` names.", "from": "A stage, an image or a named context.", "id": "Its name.",
    "sharing": "What two builds at once do: shared, private "
               "or locked.", "size": "At most so many bytes.", "required": "Fail where it is not given.",
    "env": "Give it as this variable, too.", "mode": "Of a new directory or file, in octal.", "uid": "Its owner.", "gid": "Its group.",
    "readonly": "Nothing may be written.", "readwrite": "Writes are allowed, and thrown away.",
}  # fmt: skip
_SIGNALS = (
    "SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGABRT", "SIGALRM", "SIGCONT", "SIGPIPE", "SIGSTOP", "SIGTSTP",
    "SIGRTMIN+3",
)  # fmt: skip
#: What BuildKit refuses behind ONBUILD.
_NO_TRIGGERS = frozenset(["FROM", "ONBUILD", "MAINTAINER"])
_VALUES = {
    "--network": ("default", "none", "host"),
    "--security": ("sandbox", "insecure"),
    "--link": ("true", "false"),
    "--keep-git-dir": ("true", "false"),
    "--unpack": ("true", "false"),
}
_PLATFORMS = (
    "linux/amd64",
    "linux/arm64",
    "linux/arm/v7",
    "linux/386",
    "linux/ppc64le",
    "linux/riscv64",
    "linux/s390x",
    "windows/amd64",
)
_KEYWORD = re.compile(r"[ \t]*([A-Za-z]*)")
_VARIABLE = re.compile(r"\$\{?([A-Za-z0-9_]*)\Z")


def complete(
    document: Document,
    offset: int,
    images: Callable[[], Iterable[str]] = tuple,
    files: Callable[[str], Iterable[str]] = lambda _: (),
) -> tuple[Item, ...]:
    """What could stand at a place.

    Args:
        document: the file.
        offset: the place.
        images: names of images that are known locally; asked for only where an image may stand.
        files: names in a directory of the context, given with the slash at its end, or "" for the context itself; those
            of directories end with one.
    """
    line = line_at(document, offset)
    if line.comment and line.own:
        from dockc.lsp.comments import complete_comment

        return tuple(complete_comment(document, offset))
    if line.comment:
        return ()
    return tuple(_Completer(document, offset, line, images, files).items())


def line_at(document: Document, offset: int) -> Line:
    """The logical line up to a place."""
    return Line(document, offset)


class Line:
    """The logical line up to a place, told from the text alone: continued lines are joined."""

    def __init__(self, document: Document, offset: int) -> None:
        source, escape = document.source, document.front.parsed.file.escape
        number = (
            source.line_at(offset)
            if offset < len(source.text) or not source.text.endswith("\n")
            else len(source.line_starts) + 1
        )
        start = source.line_starts[number - 1] if number <= len(source.line_starts) else len(source.text)
        inside = _heredoc(document, offset)
        parts = [source.text[start:offset]]
        self.comment = parts[0].lstrip("\ufeff \t").startswith("#") or (inside is not None and not inside)
        #: A comment of the Dockerfile itself.
        self.own = inside is None and self.comment
        while number > 1 and inside is None:
            above = source.line_text(number - 1).rstrip()
            if above.lstrip().startswith("#") and len(parts) > 0 and _continued(document, number - 1, escape):
                number -= 1
                continue
            if not above.endswith(escape):
                break
            parts.insert(0, above[: -len(escape)])
            number -= 1
        self.text = "".join(parts)
        self.first = number
        self.inside = inside is not None


def _continued(document: Document, number: int, escape: str) -> bool:
    """Whether the comment on a line stands inside a continued instruction."""
    source = document.source
    while number > 1:
        number -= 1
        above = source.line_text(number).rstrip()
        if not above.lstrip().startswith("#"):
            return above.endswith(escape)
    return False


def _heredoc(document: Document, offset: int) -> bool | None:
    """Whether variables count in the heredoc around a place; None outside of heredocs."""
    for entry in document.context.entries:
        for one in entry.node.heredocs:
            if one.body.start <= offset < max(one.body.end, one.body.start + 1):
                return entry.keyword == "RUN" or one.expand
    return None


class _Completer:
    """One question."""

    def __init__(
        self,
        document: Document,
        offset: int,
        line: Line,
        images: Callable[[], Iterable[str]],
        files: Callable[[str], Iterable[str]],
    ) -> None:
        self.files = files
        self.document = document
        self.offset = offset
        self.text = line.text
        self.images = images
        self.entry = sum(entry.line < line.first for entry in document.context.entries)
        froms = document.names.froms
        self.stage = sum(entry.line < line.first for entry, _ in froms) - 1
        words = self.text.split()
        self.keyword = words[0].upper() if words and (len(words) > 1 or self.text[-1:].isspace()) else ""
        self.trigger = self.keyword == "ONBUILD"
        if self.trigger and len(words) > 1 and (len(words) > 2 or self.text[-1:].isspace()):
            self.keyword = words[1].upper()
        self.inside = line.inside
        self.word = "" if not self.text or self.text[-1].isspace() else words[-1] if words else ""

    def items(self) -> Iterator[Item]:
        variable = _VARIABLE.search(self.text)
        if variable is not None and (self.keyword or self.inside):
            yield from self.variables(self.span(variable[1]))
        elif self.inside:
            return  # the body of a heredoc is no Dockerfile
        elif not self.keyword or (self.keyword == "ONBUILD"):
            yield from self.keywords()
        elif self.word.startswith("--") and "=" not in self.word:
            yield from self.flags()
        elif self.word.startswith("--"):
            yield from self.flag_values(*self.word.split("=", 1))
        elif self.keyword == "FROM":
            yield from self.bases()
        elif self.keyword == "ARG" and "=" not in self.word:
            yield from self.arguments()
        elif self.keyword in {"COPY", "ADD"} and not self.word.startswith("<<"):
            yield from self.context_files()
        elif self.keyword == "STOPSIGNAL" and len(self.text.split()) <= 2:
            yield from self.values(_SIGNALS, self.word)
        elif self.keyword == "EXPOSE" and "/" in self.word:
            yield from self.values(("tcp", "udp", "sctp"), self.word.partition("/")[2])
        elif self.keyword == "SHELL" and not self.word:
            yield from self.values(('["/bin/bash", "-o", "pipefail", "-c"]', '["/bin/sh", "-c"]'), self.word)
        elif self.keyword == "HEALTHCHECK" and len(self.text.split()) <= 2:
            yield from self.values(("CMD", "NONE"), self.word)

    def span(self, typed: str) -> Span:
        """What is replaced: the part that was typed."""
        return Span(self.offset - len(typed), self.offset)

    def keywords(self) -> Iterator[Item]:
        span = self.span(self.word)
        lower = bool(self.word) and self.word.islower() and self._mostly_lower()
        for doc in INSTRUCTIONS.values():
            if self.trigger and doc.keyword in _NO_TRIGGERS:
                continue
            text = doc.keyword.lower() if lower else doc.keyword
            yield Item(text, "keyword", span, doc.summary, instruction_markdown(doc))

    def _mostly_lower(self) -> bool:
        words = [e.node.command.keyword.value for e in self.document.context.entries]
        return sum(w.islower() for w in words) * 2 > len(words)

    def flags(self) -> Iterator[Item]:
        doc = INSTRUCTIONS.get(self.keyword)
        for name, meaning in sorted(doc.flags.items()) if doc is not None else ():
            value = "" if name in {"--link", "--parents", "--keep-git-dir"} else "="
            yield Item(name + value, "flag", self.span(self.word), self.keyword, meaning)

    def flag_values(self, name: str, value: str) -> Iterator[Item]:
        if name == "--from":
            yield from self.stages(self.span(value))
            yield from self.known_images(self.span(value))
        elif name == "--platform":
            yield from self.values((*_PLATFORMS, "$BUILDPLATFORM", "$TARGETPLATFORM"), value)
        elif name == "--mount":
            last = value.rpartition(",")[2]
            key, equals, part = last.partition("=")
            if not equals:
                yield from self.mount_keys(value, last)
            elif key == "type":
                yield from (Item(one, "value", self.span(part), doc) for one, doc in _MOUNT_TYPES.items())
            elif key == "from":
                yield from self.stages(self.span(part))
                yield from self.known_images(self.span(part))
            elif key == "sharing":
                yield from self.values(("shared", "private", "locked"), part)
        else:
            yield from self.values(_VALUES.get(name, ()), value)

    def mount_keys(self, value: str, typed: str) -> Iterator[Item]:
        """Keys that the mount's type has and that are not given yet."""
        pairs = [part.partition("=") for part in value.split(",")[:-1]]
        given = {_SAME_KEY.get(key.lower(), key.lower()) for key, _, _ in pairs}
        kind = next((of for key, _, of in pairs if key.lower() == "type"), "")
        keys: tuple[str, ...] = ("type",) if not given else ()
        keys += _KEYS_OF.get(kind or "bind", ())
        for key in dict.fromkeys(keys):
            if key not in given:
                text = key if key in {"readonly", "readwrite", "required"} else f"{key}="
                yield Item(text, "value", self.span(typed), _KEY_DOCS.get(key, ""))

    def context_files(self) -> Iterator[Item]:
        """Files of the context for a source that is not from elsewhere; what is the destination nobody knows yet."""
        if any(word.startswith("--from") for word in self.text.split()) or "://" in self.word:
            return
        typed = self.word.lstrip("[\"'")
        folder, _, part = typed.rpartition("/")
        folder = f"{folder}/" if folder or typed.startswith("/") else ""
        for name in self.files(folder):
            yield Item(name, "file", self.span(part), "of the context")

    def values(self, texts: Sequence[str], typed: str) -> Iterator[Item]:
        return (Item(text, "value", self.span(typed)) for text in texts)

    def bases(self) -> Iterator[Item]:
        plain = [w for w in self.text.split()[1:] if not w.startswith("--")]
        done = len(plain) - (1 if self.word and plain else 0)
        if done == 0:
            yield from self.stages(self.span(self.word))
            yield Item("scratch", "image", self.span(self.word), "the empty file system")
            yield from self.known_images(self.span(self.word))
        elif done == 1:
            yield Item("AS", "keyword", self.span(self.word), "name the stage")

    def stages(self, span: Span) -> Iterator[Item]:
        """Stages above this instruction."""
        froms = self.document.names.froms
        last = self.stage if self.keyword != "FROM" else self.stage + 1
        for index, (_, instruction) in enumerate(froms[: max(last, 0)]):
            if instruction is not None and instruction.stage_name_word is not None:
                yield Item(instruction.stage_name_word.text, "stage", span, f"stage {index}: {instruction.base.text}")
            elif self.keyword != "FROM":
                base = instruction.base.text if instruction is not None else ""
                yield Item(str(index), "stage", span, f"stage {index}: {base}")

    def known_images(self, span: Span) -> Iterator[Item]:
        """Images of the file and of the store."""
        stages = {f.stage_name for _, f in self.document.names.froms if f is not None}
        seen = dict.fromkeys(
            f.base.text
            for entry, f in self.document.names.froms
            if f is not None
            and "$" not in f.base.text
            and not entry.node.span.start <= self.offset <= entry.node.span.end
        )
        for entry in self.document.context.entries:
            if isinstance(entry.instruction, ast.Copy) and (
                "/" in entry.instruction.from_.text or ":" in entry.instruction.from_.text
            ):
                seen[entry.instruction.from_.text] = None
        for name in seen:
            if name.lower() not in stages and name != "scratch":
                yield Item(name, "image", span, "used in this file")
        for name in self.images():
            if name not in seen:
                yield Item(name, "image", span, "in the local store")

    def variables(self, span: Span) -> Iterator[Item]:
        """Variables that this instruction sees."""
        names = self.document.names
        inside = self.keyword != "FROM" and self.stage >= 0
        if inside:
            chain = set(names.scopes(self.stage))
            sites = [
                s for s in names.definitions if s.target in chain and (s.target != self.stage or s.entry < self.entry)
            ]
        else:
            sites = [s for s in names.definitions if s.target == GLOBAL and s.entry < self.entry]
        for name, site in {site.name: site for site in sites}.items():
            entry = self.document.context.entries[site.entry]
            yield Item(name, "variable", span, f"{entry.keyword} of line {entry.line}")
        if not inside:
            for name, doc in PLATFORM_ARGS.items():
                yield Item(name, "variable", span, doc)

    def arguments(self) -> Iterator[Item]:
        """Names that an ARG of a stage can take over."""
        if self.stage < 0:
            return
        span = self.span(self.word)
        taken = [s for s in self.document.names.definitions if s.target == GLOBAL]
        for site in {s.name: s for s in taken}.values():
            yield Item(site.name, "variable", span, f"ARG of line {self.document.context.entries[site.entry].line}")
        for name, doc in PLATFORM_ARGS.items():
            yield Item(name, "variable", span, doc)
