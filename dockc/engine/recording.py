"""A build's record as it is written: a sink of progress that keeps what happens, and what the build was asked for.

The file and its lines are those of `engine.history`. Nothing is ever rewritten, and nothing waits for the disk.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockc.base.concealing import SECRET
from dockc.base.record import Record, replace
from dockc.engine.history import FOLDER, RESULT, TAIL, VERSION, collect, create, file_ref
from dockc.engine.keep import KEEP_BYTES, Keep
from dockc.engine.told import Told, arguments, hider
from dockc.errors import HIDDEN, DockcError, without_credentials

if TYPE_CHECKING:
    from dockc.engine.earlier import Index
    from dockc.engine.request import Asked, Built
    from dockc.solver.progress import SolveStatus, StatusSink

PENDING = 32 << 20
"""Bytes of logs that may wait for a disk that is slower than the steps; of more, logs are left out."""
INTERVAL = 0.05
"""Seconds between two writes of one build: a step that prints a lot shall not wait for Python's lock at each line."""
PATIENCE = 5.0
"""Seconds that the end of a build waits for the last lines to be written."""
HASTE = 0.25
"""The same, of a build that was told to end."""


class Described(Record, kw_only=True):
    """A build as its record begins.

    Attributes:
        ref: its name; "" makes one up.
        options: see `options_of`.
        attrs: frontend options with what is secret, to be found and hidden elsewhere.
        keep: which builds are kept when it has ended.
        collects: whether the others go then; not where somebody else sees to that.
        index: what is known of the store's builds, by a process that makes many.
    """

    ref: str = ""
    options: Mapping[str, Any]
    attrs: Mapping[str, str]
    keep: Keep | None = None
    collects: bool = True
    index: Index | None = None


def describe(asked: Asked) -> Described:
    """A build of this process."""
    return Described(options=options_of(asked), attrs=asked.compile.attrs)


def described(asked: Asked, *, builder: str, cache_from: Sequence[str], cache_to: Sequence[str]) -> Described:
    """A build of a builder elsewhere, by its name, with the caches as the command line has them."""
    options = options_of(asked) | {
        "builder": without_credentials(builder),
        "cache_from": [_cache(text) for text in cache_from],
        "cache_to": [_cache(text) for text in cache_to],
    }
    return Described(options=options, attrs=asked.compile.attrs)


def _cache(text: str) -> dict[str, str]:
    """A cache of the command line without what is secret."""
    if "=" not in text:
        return {"type": "registry", "ref": without_credentials(text)}
    pairs = (field.partition("=")[::2] for field in text.split(","))
    return {key: HIDDEN if SECRET.search(key) else without_credentials(value) for key, value in pairs}


# --- writing ----------------------------------------------------------------------------------------------


class Recording:
    """A sink of progress that keeps a build's history and hands everything on. It never fails a build.

    All that touches the disk is done by a thread of its own, which begins with the first event, or where it is `held`
    with `begin`: by then the process has entered its namespaces, for which it must have one thread. A build that ends
    before leaves no record.

    Mutable: `_held`, the lines that wait, when the first event came, the thread, `path`, its file once it is there, and
    `trouble`, why nothing (more) could be written, or "".
    """

    def __init__(self, inner: StatusSink, root: Path, asked: Asked | Described, *, held: bool = False) -> None:
        from dockc.engine.progress import Counting  # loads asyncio, which who only reads does without

        about = asked if isinstance(asked, Described) else describe(asked)
        self.ref = about.ref or os.urandom(8).hex()
        self.path: Path | None = None
        self.trouble = ""
        self.folder = root / FOLDER
        self.inner = self._counting = Counting(inner)
        self._root = root
        self._held = held
        self._began: int | None = None
        self._options = about.options
        self._keep, self._collects, self._index = about.keep, about.collects, about.index
        self._seen: set[str] = set()
        self._dockerfiles: list[str] = []
        self.hide = hider(about.attrs)
        self._platform = about.attrs.get("platform", "")
        self._waiting: deque[SolveStatus | dict[str, Any] | None] = deque()
        self._wake = threading.Event()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._size = 0
        self._keys_at = 0
        self._counts = threading.Lock()  # of the two below
        self._pending = 0  # bytes of logs that were taken and not written yet
        self._left_out = 0

    def dockerfile(self, data: bytes) -> None:
        """The Dockerfile, as the frontend has read it."""
        text = self.hide(data.decode("utf-8", "replace"))
        self._dockerfiles.append(text)
        if not self.trouble:
            self._put({"dockerfile": text})  # waits for the first event, if there was none yet

    def arguments(self) -> dict[str, str]:
        """Build arguments, as far as the Dockerfile has been read."""
        return arguments(self._dockerfiles, self._options["attrs"])

    def earlier(self) -> list[Told]:
        """Builds to compare this one with, the newest first; those of the same Dockerfile before others. Blocks.

        Raises:
            StoreError: the history cannot be read.
        """
        from dockc.engine.earlier import earlier

        return earlier(self._root, self._options, but=self.ref, index=self._index)

    def keys(self, parts: list[list[dict[str, Any]]]) -> None:
        """What the steps' keys were made of; to be told once, before the end."""
        if self._thread is not None and not self.trouble:
            self._put({"args": self.arguments()})
            for part in parts:
                self._put({"keys": part})

    def __call__(self, status: SolveStatus, /) -> None:
        """Take one batch."""
        if not self.trouble:
            if self._began is None:
                self._began = time.time_ns()
            if self._thread is None and not self._held:
                self._begin()
            kept = _without_sources(status)
            size = _text_of(kept)
            with self._counts:
                full = self._pending + size > PENDING
                if full:
                    self._left_out += sum(len(log.data) for log in kept.logs)
                else:
                    self._pending += size
            self._put(replace(kept, logs=(), warnings=()) if full else kept)
        self.inner(status)

    def end(
        self, built: Built | None, error: BaseException | None = None, *, more: Mapping[str, Any] | None = None
    ) -> None:
        """The build is over: say how, with what `more` there is to say, and wait a moment until that is written."""
        thread = self._thread
        if thread is None:
            return
        ending = {"executed": self._counting.executed, "cached": self._counting.cached} | _ending(built, error)
        ending["error"] = self.hide(ending["error"])
        ending |= more or {}
        haste = ending["status"] == "canceled"
        if built is not None and built.sizes:
            self._put({"sizes": dict(built.sizes)})
        self._put({"end": ending})
        self._put(None)
        self._over.set()
        thread.join(HASTE if haste else PATIENCE)
        if thread.is_alive() and not self.trouble:
            self.trouble = "the disk does not answer"

    def begin(self) -> None:
        """Write from now on, and first what has come already."""
        self._held = False
        if self._began is not None and self._thread is None and not self.trouble:
            self._begin()

    def _begin(self) -> None:
        begin = {
            "version": VERSION,
            "ref": self.ref,
            "began": self._began,
            "platform": self._platform,
            "options": self._options,
        }
        self._thread = threading.Thread(target=self._write, args=(begin,), name="history", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # no threads left
            self._thread = None
            self.trouble = str(error)

    def _put(self, what: SolveStatus | dict[str, Any] | None) -> None:
        self._waiting.append(what)
        self._wake.set()

    def _write(self, begin: Mapping[str, Any]) -> None:
        try:
            name = f"{begin['began']:020d}-{file_ref(self.ref)}.jsonl"
            file = create(self.folder, name)
            self.path = self.folder / name
            try:
                self._append(file, [{"begin": begin}])
                while self._append_waiting(file):
                    self._over.wait(INTERVAL)
            finally:
                os.close(file)
            if self._collects:
                collect(self.folder, but=self.ref, keep=self._keep)
        except OSError as error:
            self.trouble = error.strerror or str(error)
            self._waiting.clear()

    def _append_waiting(self, file: int) -> bool:
        """Write what waits, or wait for something; whether more may come."""
        self._wake.wait()
        self._wake.clear()
        lines: list[dict[str, Any]] = []
        taken = 0
        more = True
        while self._waiting:
            what = self._waiting.popleft()
            if what is None:
                more = False
            elif isinstance(what, dict):
                lines.append(what)
            else:
                lines += _lines_of(what, self.hide, self._seen)
                taken += _text_of(what)
        self._append(file, lines)
        with self._counts:
            self._pending -= taken
        return more

    def _append(self, file: int, lines: list[dict[str, Any]]) -> None:
        """Write lines whole; of logs and warnings only what there is room for."""
        out = []
        for line in lines:
            log = line.get("log")
            if "args" in line:
                self._keys_at = self._size
            if "end" in line:
                line["end"] |= {"left_out": self._left_out, "keys_at": self._keys_at}
            data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
            if (log is not None or "warning" in line) and self._size + len(data) > KEEP_BYTES - TAIL:
                if log is not None:
                    with self._counts:
                        self._left_out += len(log[1].encode("utf-8", "surrogateescape"))
                continue
            self._size += len(data)
            out.append(data)
        data = b"".join(out)
        while data:
            data = data[os.write(file, data) :]


def recording_of(sink: StatusSink) -> Recording | None:
    """The one that keeps a build's history, if there is one among the sinks that hand on to each other by `inner`."""
    found: object = sink
    while found is not None and not isinstance(found, Recording):
        found = getattr(found, "inner", None)
    return found


def _without_sources(status: SolveStatus) -> SolveStatus:
    """A batch as it is kept: of a warning what it says in short, not the file that it speaks of."""
    if not status.warnings:
        return status
    return replace(status, warnings=tuple(replace(one, source=b"", detail=()) for one in status.warnings))


def _text_of(status: SolveStatus) -> int:
    """Bytes in a batch that a frontend or a step may make any number of: logs and warnings."""
    return sum(len(log.data) for log in status.logs) + sum(len(one.short) + len(one.url) for one in status.warnings)


def _lines_of(status: SolveStatus, hide: Callable[[str], str], seen: set[str]) -> Iterator[dict[str, Any]]:
    for event in status.vertexes:
        inputs = list(event.inputs) if event.digest not in seen else []
        seen.add(event.digest)
        yield {
            "step": {
                **({"inputs": inputs} if inputs else {}),
                "digest": event.digest,
                "name": hide(event.name),
                "started": event.started,
                "completed": event.completed,
                "cached": event.cached,
                "error": hide(event.error),
            }
        }
    for log in status.logs:
        yield {"log": [log.vertex, log.data.decode("utf-8", "surrogateescape"), log.stream, log.timestamp]}
    for warning in status.warnings:
        yield {"warning": {"step": warning.vertex, "short": hide(warning.short), "url": warning.url}}


def lines_of(status: SolveStatus, seen: set[str]) -> Iterator[dict[str, Any]]:
    """The lines of a record for what another builder told; `seen` are the steps so far."""
    return _lines_of(status, without_credentials, seen)


def _ending(built: Built | None, error: BaseException | None) -> dict[str, Any]:
    ended = {"ended": time.time_ns(), "status": "completed", "error": "", "results": {}}
    if built is not None:
        results = {key: value for key, value in built.metadata.items() if len(value) < RESULT}
        return ended | {"results": results, "executed": built.executed, "cached": built.cached}
    if isinstance(error, DockcError):
        status = "canceled" if error.exit_code > 128 else "failed"  # told to end by a signal
        text = error.message[:4096]
    else:
        status = "failed" if isinstance(error, Exception) else "canceled"
        text = type(error).__name__
    return ended | {"status": status, "error": without_credentials(text)}


def _place(text: str) -> str:
    """A context or Dockerfile so that it means the same in whatever directory one is; of URLs no login."""
    from dockc.engine.request import is_remote

    return without_credentials(text) if text in {"", "-"} or is_remote(text) else os.path.abspath(text)  # noqa: PTH100


def options_of(asked: Asked) -> dict[str, Any]:
    """What a build was asked for, without what is secret: of secrets and agents the ids, of values whose names say that
    they are secret nothing, of URLs no login.
    """
    asked_for = asked.compile

    def each(values: Mapping[str, str]) -> dict[str, str]:
        return {key: HIDDEN if SECRET.search(key) else without_credentials(value) for key, value in values.items()}

    return {
        "context": _place(asked_for.context),
        "file": _place(asked_for.file),
        "attrs": each(asked_for.attrs),
        "contexts": {name: without_credentials(value) for name, value in asked_for.contexts.items()},
        "names": list(asked.names),
        "outputs": [
            {"type": one.type, "dest": without_credentials(one.dest), **each(one.attrs)} for one in asked.outputs
        ],
        "cache_from": [{"type": one.type, **each(one.attrs)} for one in asked.cache_from],
        "cache_to": [{"type": one.type, **each(one.attrs)} for one in asked.cache_to],
        "secrets": [_id_of(text) for text in asked.secrets],
        "ssh": [text.partition("=")[0] or "default" for text in asked.ssh],
        "allow": sorted(asked.allow),
        "offline": asked_for.offline,
        "locked": str(asked_for.locked or ""),
        "level": asked_for.level,
        "passes": asked_for.passes,
        "squash": asked_for.squash,
    }


def _id_of(secret: str) -> str:
    from dockc.runtime.session.secrets import parse_secret

    try:
        return parse_secret(secret).id
    except DockcError:  # the build itself says so
        return ""
