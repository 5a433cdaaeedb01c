"""The exception tree of dockc; everyone may import it, it imports nothing of dockc.

DockcError                       exit 1
├── UsageError                   exit 2   a flag or option value that cannot be understood
├── SyntaxFailure                exit 1   a Dockerfile that does not parse
├── CompileError                 exit 1   a Dockerfile that parses and cannot be lowered
├── InvalidDefinition            exit 1   LLB that breaks the rules of LLB
├── SolveError                   exit 1   a vertex failed
│   └── ExecError                exit 1   a RUN process ended with a non-zero status
├── StoreError                   exit 1   the local store: full, damaged, locked
│   ├── DiskFull                 exit 1   no bytes or no files are left on the store's disk
│   └── DigestMismatch           exit 1   bytes that are not what their digest says
├── RegistryError                exit 1   a registry refused, is unreachable, or lies
└── UnsafePath                   exit 1   a path that would leave its root
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Words(Protocol):
        """Text of a file and its place, `(start, end)` in characters."""

        @property
        def text(self) -> str: ...  # noqa: D102
        @property
        def span(self) -> tuple[int, int]: ...  # noqa: D102


HIDDEN = "xxxxx"
"""What stands in the place of a password."""
_URL = r"[a-zA-Z][a-zA-Z0-9+.\-]*://[^\s\"'<>]+"
_USERINFO = r"(?<=://)([^/?#]*)@"
_IN_QUERY = (
    r"(?i)(?<=[?&])((?:[\w.\-]*(?:token|secret|passw(?:or)?d|signature|credential|api[_\-]?key|access[_\-]?key)[\w.\-]*|sig|auth|key)=)"
    r"([^&#]+)"
)


def without_credentials(text: str, *, same_width: bool = False, shortest: int = 1) -> str:
    """A text for people, without what its URLs carry to log in: passwords, users that are tokens, tokens in queries.

    Every message of an error is such a text; so are names of steps, histories and what the store says of its records.
    `same_width`: what is hidden keeps its length, for text with marks below it. `shortest`: values in queries that have
    fewer characters stay.
    """
    if "://" not in text or not ("@" in text or "=" in text):
        return text
    import re

    def hidden(secret: str) -> str:
        return "x" * len(secret) if same_width else HIDDEN

    def user(match: re.Match[str]) -> str:
        name, colon, password = match.group(1).partition(":")
        # A user of the web may be a token, with whatever beside it (`TOKEN:x-oauth-basic@`); one of ssh is a name.
        if name and match.string.lower().startswith(("http://", "https://")):
            name = hidden(name)
        return f"{name}{colon}{hidden(password) if colon else ''}@"

    def shown(match: re.Match[str]) -> str:
        return re.sub(
            _IN_QUERY,
            lambda found: found.group() if len(found.group(2)) < shortest else found.group(1) + hidden(found.group(2)),
            re.sub(_USERINFO, user, match.group()),
        )

    return re.sub(_URL, shown, text)


class DockcError(Exception):
    """Base of every error that dockc raises on purpose.

    Attributes:
        error_code: what kind of error it is: one for each class; a compile error has its fault's.
        hint: what the user can do about it, one sentence, or "".
        context: what whoever caught it was doing, in the words that come before the message, or "".
        vertex: digest of the step that failed, or "".
    """

    exit_code = 1
    error_code: str = "error"
    context: str = ""
    vertex: str = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        message = without_credentials(message)
        super().__init__(message)
        self.message = message
        self.hint = without_credentials(hint)

    def __reduce__(self) -> tuple[object, ...]:
        """Errors go to other processes with all that they know, whatever their classes are made with."""
        return _again, (type(self), self.args, self.__dict__)


class UsageError(DockcError):
    """A flag or option value that cannot be understood."""

    exit_code = 2
    error_code = "usage"


class Fault:
    """What kind of mistake a Dockerfile holds, and in which of its words.

    Attributes:
        kind: a row of `compiler/faults.py`: the error's code, and after a slash the way to go wrong where a code has
            several.
        text, span: the words and their place in the file; `span` is None where the mistake is in no words of the file.
        part: start and end in `text` of what is wrong there; None for all of it.
        values: what the row's help may quote.
    """

    __slots__ = ("kind", "part", "span", "text", "values")

    def __init__(
        self,
        kind: str,
        words: Words | None = None,
        part: tuple[int, int] | None = None,
        values: tuple[str, ...] = (),
    ) -> None:
        self.kind = kind
        self.text = "" if words is None else words.text
        self.span = None if words is None else words.span
        self.part = part
        self.values = values

    @property
    def code(self) -> str:
        """The error's code."""
        return self.kind.partition("/")[0]

    def at(self, words: Words | None, part: tuple[int, int] | None = None) -> Fault:
        """The same mistake in other words of the file; None: in none."""
        return Fault(self.kind, words, part, self.values)

    def inside(self, words: Words, start: int) -> Fault:
        """The same mistake, where the words that it is in begin at `start` of other words."""
        first, last = self.part or (0, len(self.text))
        return self.at(words, (start + first, start + last))


class CompileError(DockcError):
    """A Dockerfile that cannot be lowered.

    Attributes:
        fault: what kind of mistake, and where.
        locations: 1-based line ranges, `((start, end), ...)` per location, innermost first.
        suggestion: the name the user probably meant, or "".
        alternatives: messages that are equally right, where the reference picks one at random.
        source: name and text of the Dockerfile, where whoever caught the error knew it.
        details: everything that is wrong with the file, rendered for people, or "".
    """

    source: tuple[str, str] | None = None
    details: str = ""

    def __init__(
        self,
        message: str,
        *,
        fault: Fault,
        locations: tuple[tuple[tuple[int, int], ...], ...] = (),
        suggestion: str = "",
        alternatives: tuple[str, ...] = (),
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.fault = fault
        self.locations = locations
        self.suggestion = suggestion
        self.alternatives = alternatives
        self.error_code = fault.code


class SyntaxFailure(CompileError):
    """A Dockerfile that does not parse."""


class InvalidDefinition(DockcError):
    """LLB that breaks the rules of LLB (unknown digest, cycle, missing op, bad bytes)."""

    error_code = "invalid-definition"


class SolveError(DockcError):
    """A vertex failed."""

    error_code = "step-failed"

    def __init__(self, message: str, *, vertex: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.vertex = vertex


class ExecError(SolveError):
    """A process of an exec op ended with a non-zero status.

    Attributes:
        exit_status: the process's exit status, 128 + n for signal n.
    """

    error_code = "process-failed"

    def __init__(self, message: str, *, exit_status: int, vertex: str = "", hint: str = "") -> None:
        super().__init__(message, vertex=vertex, hint=hint)
        self.exit_status = exit_status


class StoreError(DockcError):
    """The local store is full, damaged or locked."""

    error_code = "store"


class DiskFull(StoreError):
    """The store's disk has no room left: no bytes, or no files (inodes)."""


class DigestMismatch(StoreError):
    """Bytes that are not what their digest says."""

    error_code = "digest-mismatch"


class RegistryError(DockcError):
    """A registry refused, is unreachable, or answered something that is not valid."""

    error_code = "registry"


class UnsafePath(DockcError):
    """A path from an image, archive or context that would leave its root."""

    error_code = "unsafe-path"


def _again(kind: type[DockcError], args: tuple[object, ...], known: dict[str, object]) -> DockcError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(known)
    return error


def in_words(error: OSError) -> str:
    """What the system has said, and of which file; never the number alone."""
    import errno

    what = (error.strerror or str(error) or type(error).__name__).lower()
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = f"the disk is full ({what})"
    return f"{what}: {error.filename}" if error.filename else what


_NO_THREAD = ("can't start new thread", "no thread can be made")
"""Python's own words for EAGAIN, and those of `base.threads`."""


def lacking(error: BaseException) -> str:
    """What the machine has too little of for this process, where that is what went wrong: memory or threads; "" elsewhere."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, RuntimeError) and str(error).endswith(_NO_THREAD):
        return "no thread can be made: there is too little memory, or the user has too many processes"
    return ""
