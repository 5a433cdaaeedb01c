"""The exception tree of dockc; everyone may import it, it imports nothing.

    DockcError                       exit 1
    ├── UsageError                   exit 2   a flag or option value that cannot be understood
    ├── SyntaxFailure                exit 1   a Dockerfile that does not parse
    ├── CompileError                 exit 1   a Dockerfile that parses and cannot be lowered
    ├── InvalidDefinition            exit 1   LLB that breaks the rules of LLB
    ├── SolveError                   exit 1   a vertex failed
    │   └── ExecError                exit 1   a RUN process ended with a non-zero status
    ├── StoreError                   exit 1   the local store: full, damaged, locked
    │   └── DigestMismatch           exit 1   bytes that are not what their digest says
    ├── RegistryError                exit 1   a registry refused, is unreachable, or lies
    └── UnsafePath                   exit 1   a path that would leave its root
"""

from __future__ import annotations


class DockcError(Exception):
    """Base of every error that dockc raises on purpose.

    Attributes:
        hint: what the user can do about it, one sentence, or "".
        context: what whoever caught it was doing, in the words that come before the message, or "".
    """

    exit_code = 1
    context: str = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(DockcError):
    """A flag or option value that cannot be understood."""

    exit_code = 2


class CompileError(DockcError):
    """A Dockerfile that cannot be lowered.

    Attributes:
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
        locations: tuple[tuple[tuple[int, int], ...], ...] = (),
        suggestion: str = "",
        alternatives: tuple[str, ...] = (),
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.locations = locations
        self.suggestion = suggestion
        self.alternatives = alternatives


class SyntaxFailure(CompileError):
    """A Dockerfile that does not parse."""


class InvalidDefinition(DockcError):
    """LLB that breaks the rules of LLB (unknown digest, cycle, missing op, bad bytes)."""


class SolveError(DockcError):
    """A vertex failed.

    Attributes:
        vertex: digest of the failed vertex, or "".
    """

    def __init__(self, message: str, *, vertex: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.vertex = vertex


class ExecError(SolveError):
    """A process of an exec op ended with a non-zero status.

    Attributes:
        exit_status: the process's exit status, 128 + n for signal n.
    """

    def __init__(self, message: str, *, exit_status: int, vertex: str = "", hint: str = "") -> None:
        super().__init__(message, vertex=vertex, hint=hint)
        self.exit_status = exit_status


class StoreError(DockcError):
    """The local store is full, damaged or locked."""


class DigestMismatch(StoreError):
    """Bytes that are not what their digest says."""


class RegistryError(DockcError):
    """A registry refused, is unreachable, or answered something that is not valid."""


class UnsafePath(DockcError):
    """A path from an image, archive or context that would leave its root."""
