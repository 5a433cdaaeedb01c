"""Words for why a step ran: the first part of its key that is another than before. Data; sentences are made elsewhere."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from dockc.base.record import Record

if TYPE_CHECKING:
    from dockc.solver.cache.storage.base import KeyRecord


class MissReason(StrEnum):
    """The main reason of a miss."""

    UNKNOWN = "unknown"
    """Nothing like this step is known."""
    IMPORT = "import"
    """Nothing like it is known, and the imported caches do not have it: `changes` names them."""
    TOLD = "told"
    """It was told to run."""
    INSTRUCTION = "instruction"
    """The instruction's text is another."""
    ARGUMENT = "argument"
    """A build argument has another value."""
    ENVIRONMENT = "environment"
    """A variable of the environment has another value."""
    BASE = "base"
    """A source stands for other content: a base image, a download, a commit."""
    MOUNT = "mount"
    """A mount is another: its id, what it takes, where it lies."""
    OPERATION = "operation"
    """The step itself is another in some other way: see `changes`."""
    CONTENT = "content"
    """Files that the step reads have changed: see `inputs` and `files`."""
    INPUT = "input"
    """What the step stands on is another: see `inputs`."""
    RESULT = "result"
    """The same step is known, its result has been removed: see `changes` for the rule, `at` for the time."""


class Change(Record):
    """A part of a key: where or what (`meta.env[2]`, an argument's name), what it was and what it is (None: absent)."""

    path: str
    old: object
    new: object


class FileChange(Record):
    """One file that is another: `what` is added, removed, content, mode, owner, kind or attributes; modes in octal
    digits and owners as `uid:gid` in `old` and `new`.
    """

    path: str
    what: str
    old: str = ""
    new: str = ""


class KeyDiff(Record):
    """What is different from the nearest earlier key.

    Attributes:
        vertex: digest of the step that ran.
        name: its name.
        reason: the main reason.
        nearest: the record compared with, or None.
        changes: of the operation, at most fifty.
        inputs: indices of inputs that are others (by content where that counts, else by key).
        files: of the first input whose content is another, the files, as many as are told.
        more: how many files besides.
        source: name of that input, or of the source.
        ref: the earlier build compared with, "" where it is not known.
        at: when the result was removed, in nanoseconds since the epoch; 0 where that is not known.
    """

    vertex: str
    name: str
    reason: MissReason
    nearest: KeyRecord | None = None
    changes: tuple[Change, ...] = ()
    inputs: tuple[int, ...] = ()
    files: tuple[FileChange, ...] = ()
    more: int = 0
    source: str = ""
    ref: str = ""
    at: int = 0


class Missed(Record):
    """A step that runs though there is a cache.

    Attributes:
        diff: why.
        first: nothing below it has run because of its key: this is where the change comes from.
        line: of the Dockerfile, 0 where not known.
    """

    diff: KeyDiff
    first: bool
    line: int = 0


class InputKey(Record):
    """How one input takes part in a key.

    Attributes:
        vertex, index: the output that is read.
        selector: which part of it, "" for the whole.
        content: digest of what is read; "" where only definition counts, or nobody had to know.
        label: what people call it.
    """

    vertex: str
    index: int = 0
    selector: str = ""
    content: str = ""
    label: str = ""

    @property
    def listing(self) -> str:
        """What the list of its entries is known by; "" without a content digest."""
        return listing_name(self.content, self.selector) if self.content else ""


def listing_name(content: str, selector: str) -> str:
    """What the entries of a content digest are known by: equal content of another place has other names."""
    return f"{content}+{selector}"


class StepKey(Record):
    """What the key of a step is made of, apart from any store.

    Attributes:
        vertex: the step's digest.
        name: as people see it.
        kind: of the operation: exec, file, source and so on.
        digest: of the operation less its inputs.
        preimage: what went into that digest.
        inputs: in their order.
        key: the id under which a store keeps its result, or "".
        told: it runs whatever the cache has.
    """

    vertex: str
    name: str
    kind: str
    digest: str
    preimage: object
    inputs: tuple[InputKey, ...] = ()
    key: str = ""
    told: bool = False
