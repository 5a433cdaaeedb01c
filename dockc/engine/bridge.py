"""What a frontend may ask of the engine while a build runs: one method for each call of BuildKit's gateway, and no
transport.

Frontends in this process call it directly; a daemon and a frontend container's stdio translate their messages to it.
Source: BuildKit, frontend/gateway/pb/gateway.proto.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from dockc.base.aside import together
from dockc.base.files import read_inside
from dockc.base.record import Record, made, replace
from dockc.engine.failure import located
from dockc.engine.reading import Stat, digest_file, missing, read_dir, read_file, stat_file
from dockc.engine.request import BuildRequest
from dockc.errors import DockcError, SolveError
from dockc.solver.progress import SolveStatus, SourceRange, VertexWarning

if TYPE_CHECKING:
    import threading

    from dockc.compiler.questions import Answers
    from dockc.engine.progress import Steps
    from dockc.engine.work import Work
    from dockc.llb.definition import Definition
    from dockc.llb.pb import ops_pb2
    from dockc.oci.platform import Platform
    from dockc.runtime.refs.failed import Failed
    from dockc.runtime.refs.ref import ImmutableRef
    from dockc.runtime.refs.result import RefResult
    from dockc.runtime.registry.client import Client
    from dockc.runtime.remotecache.base import CacheEntry
    from dockc.runtime.remotecache.keys import Imported, ImportedKeys
    from dockc.runtime.session.base import Session
    from dockc.runtime.source.found import Found
    from dockc.runtime.source.resolve import Resolver
    from dockc.solver.lent import Lent
    from dockc.solver.run.jobs import BuildResult, Job
    from dockc.solver.vertex import Edge

T = TypeVar("T")

Frontend = Callable[["Bridge"], Awaitable["Result"]]
"""Asks the bridge for what it needs, and gives what the build is to become."""

_MOST_CONVERSIONS = 10


class Ref:
    """A file system that a definition makes. It is solved when somebody needs it.

    Mutable: `_built`, its result once solved, held until the build ends.
    """

    def __init__(self, definition: Definition, edge: Edge) -> None:
        self.definition = definition
        self.edge = edge
        self.built: BuildResult | None = None


class LeftRef(Ref):
    """A file system that is there already: what a failed step left, held by whoever keeps that."""

    def __init__(self, system: ImmutableRef) -> None:
        from dockc.llb.definition import Definition

        self.definition = Definition()
        self.built = None
        self.system = system


class Result(Record):
    """What a frontend makes of a request.

    Attributes:
        refs: file systems by the name of their platform, "" where there is only one; None is an empty file system.
        metadata: BuildKit's exporter metadata: image configs and platforms by key.
    """

    refs: Mapping[str, Ref | None] = made(dict)
    metadata: Mapping[str, bytes] = made(dict)


class Nested:
    """How many frontends of one build run as processes, those that frontends call included. Mutable: the number."""

    MOST = 64

    def __init__(self) -> None:
        self._count = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """One more, while the block runs.

        Raises:
            DockcError: there are as many as may be: none can be waited for, as those that run may wait for it.
        """
        if self._count >= self.MOST:
            raise DockcError(
                f"{self.MOST} frontends run in this build, as many as may",
                hint="A frontend that calls itself never comes to an end.",
            )
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


class Graphs:
    """How large the graphs of one build are that are loaded: all are held until it ends. Mutable: the bytes."""

    MOST = 256 << 20
    EACH = 4096
    """Bytes that a graph takes besides, about."""

    def __init__(self) -> None:
        self._size = 0

    def add(self, definition: Definition) -> None:
        """One more.

        Raises:
            DockcError: they are larger than may be.
        """
        files = definition.source.infos if definition.source is not None else ()
        self._size += self.EACH + sum(len(data) for _, data in definition.ops) + sum(len(one.data) for one in files)
        if self._size > self.MOST:
            raise DockcError(f"the graphs of this build are larger than {self.MOST} bytes")


class Bridge:
    """One build as its frontend sees it.

    Mutable: `_refs` (all that were made, released at the build's end), `answers`. All methods run on the loop's thread.

    Attributes:
        request, session: of the build.
        steps: shows steps that are no vertices of a graph.
        work: the store, and threads for what blocks.
        client: speaks to registries for this build.
        answers: what a compiler was told, for the record.
        imports: the caches that it reads, each with its keys.
        nested: counts the frontends that run in the build.
        join_cache: lets it read one more from now on; None outside of `caches.imported`.
    """

    def __init__(
        self,
        work: Work,
        request: BuildRequest,
        session: Session,
        job: Job,
        steps: Steps,
        client: Client,
        find: Callable[[str], Frontend],
    ) -> None:
        self._find = find
        self.work = work
        self.request = request
        self.session = session
        self.steps = steps
        self.client = client
        self._job = job
        self.answers: Answers | None = None
        self.imports: list[tuple[ImportedKeys, Imported]] = []
        self.join_cache: Callable[[CacheEntry], Awaitable[None]] | None = None
        self._refs: list[Ref] = []
        self._graphs = Graphs()
        self.nested = Nested()

    # --- solve ----------------------------------------------------------------------------------------

    async def solve(
        self,
        definition: Definition | None = None,
        *,
        frontend: str = "",
        attrs: Mapping[str, str] | None = None,
        inputs: Mapping[str, bytes] | None = None,
        evaluate: bool = False,
    ) -> Result:
        """The result of a definition, or of another frontend; solved at once where `evaluate` says so.

        Raises:
            InvalidDefinition: a definition that breaks a rule.
            DockcError: no such frontend, an entitlement that is missing, a step that failed.
        """
        if frontend:
            asked = replace(
                self.request, frontend=frontend, attrs=dict(attrs or {}), definition=b"", inputs=dict(inputs or {})
            )
            result = await self._find(frontend)(self.asked(asked))
        else:
            result = Result({"": None if definition is None else await self.load(definition)})
        if evaluate:
            await self.evaluate(*result.refs.values())
        return result

    def asked(self, request: BuildRequest) -> Bridge:
        """The same build, asked for something else."""
        other = Bridge(self.work, request, self.session, self._job, self.steps, self.client, self._find)
        other._refs, other._graphs, other.nested = self._refs, self._graphs, self.nested
        return other

    @asynccontextmanager
    async def apart(self, *, judged: bool = True) -> AsyncIterator[Bridge]:
        """A bridge to a build of its own, with what this one is lent; nobody watches it.

        Args:
            judged: the rules for sources hold there, too.
        """
        request, session = self.request, self.session
        if not judged:
            request, session = replace(request, policies=()), replace(session, policy=None)
        async with self.work.solver.job("apart", lends=self._job.lends) as job:
            other = Bridge(self.work, request, session, job, self.steps, self.client, self._find)
            other.nested = self.nested
            try:
                yield other
            finally:
                other.close()

    async def graph(self, vertex: str, definition: Definition) -> RefResult:
        """What a graph makes that a step of the build builds (`runtime.ops.build`); the caller's to release.

        Raises:
            InvalidDefinition: it is none.
            DockcError: it contains the step, or a step of it failed.
        """
        from dockc.errors import InvalidDefinition
        from dockc.runtime.refs.result import RefResult
        from dockc.solver.vertex import walk

        made: RefResult | None = None
        try:
            # A job of its own: this one's may wait for the step, which waits here.
            async with self.work.solver.job("graph", sink=self._job.sink, lends=self._job.lends) as job:
                other = Bridge(self.work, self.request, self.session, job, self.steps, self.client, self._find)
                try:
                    ref = await other.load(definition)
                    if ref is None:
                        raise InvalidDefinition("invalid empty definition")
                    with self.work.graph_of(vertex, frozenset(one.digest for one in walk(ref.edge))):
                        await other.evaluate(ref)
                    made = RefResult(other.file_system(ref).clone())
                finally:
                    other.close()
        except BaseException:
            if made is not None:  # cancelled while the job ended
                await self.work.blocking(made.release)
            raise
        return made

    async def load(self, definition: Definition) -> Ref | None:
        """The file system that a definition will make; None for the definition of nothing.

        Raises:
            InvalidDefinition: it breaks a rule.
            DockcError: it needs an entitlement that the build has not got.
        """
        from dockc.runtime.ops.exec import check_load, renewed_caches
        from dockc.solver import graph

        def read() -> Edge:
            edge = graph.load(definition)
            check_load([edge], self.request.allow)
            if renewed := renewed_caches([edge]):
                self.work.worker.refs.forget_cache_dirs(renewed)
            return edge

        if not definition.ops:
            return None
        self._graphs.add(definition)
        if self.judges:
            definition = await self._judged(definition)
        ref = Ref(definition, await self.work.blocking(read))
        self._refs.append(ref)
        return ref

    @property
    def judges(self) -> bool:
        """Whether there are rules for sources."""
        return bool(self.request.policies) or self.session.policy is not None

    async def judge(
        self, identifier: str, attrs: Mapping[str, str], platform: Platform | None = None
    ) -> tuple[str, dict[str, str]]:
        """What a source is to be, by the request's rules and by the client's word.

        Raises:
            DockcError: it may not be used.
        """
        from dockc.engine.policy import judged
        from dockc.engine.world import normal

        now = dict(attrs)
        for _ in range(_MOST_CONVERSIONS):
            known = normal(identifier, now)
            identifier, now = await self.work.blocking(partial(judged, self.request.policies, known, now))
            check = self.session.policy
            said = None if check is None else await check(self, identifier, now, platform)
            if said is None:
                return identifier, now
            identifier, now = said[0], dict(said[1])
        raise DockcError("too many policy requests")

    async def _judged(self, definition: Definition) -> Definition:
        from dockc.llb.rewrite import sources_of, with_sources

        async def one(op: ops_pb2.Op) -> tuple[str, dict[str, str]]:
            return await self.judge(op.source.identifier, dict(op.source.attrs), _platform(op))

        found = await self.work.blocking(lambda: list(sources_of(definition)))
        became = await together(*(one(op) for _, op in found))
        changed = {
            digest: after
            for (digest, op), after in zip(found, became, strict=True)
            if after != (op.source.identifier, dict(op.source.attrs))
        }
        return await self.work.blocking(lambda: with_sources(definition, changed)) if changed else definition

    async def evaluate(self, *refs: Ref | None) -> None:
        """Solve what has not been solved yet, all at once.

        Raises:
            FailedStep: a step failed.
        """
        wanted = [
            ref for ref in dict.fromkeys(refs) if ref is not None and ref.built is None and not isinstance(ref, LeftRef)
        ]
        if not wanted:
            return
        try:
            results = await self._job.build(*(ref.edge for ref in wanted))
        except SolveError as error:
            raise located(error, self._job, [ref.definition for ref in wanted]) from error
        for ref, result in zip(wanted, results, strict=True):
            if ref.built is None:
                ref.built = result
            else:  # somebody else wanted it meanwhile
                self._job.let_go(result)

    @property
    def definitions(self) -> tuple[Definition, ...]:
        """All that were loaded, the newest last."""
        return tuple(ref.definition for ref in self._refs)

    def failed(self, error: BaseException) -> Failed | None:
        """What the step left that an error tells of, where the build keeps that (`Session.keeps_failures`)."""
        from dockc.runtime.refs.failed import FAILURES

        keeper = FAILURES.of(self._job.lends)
        vertex = getattr(error, "vertex", "")
        return keeper.find(vertex) if keeper is not None and vertex else None

    @property
    def lends(self) -> Lent:
        """What the build's steps may ask for."""
        return self._job.lends

    def file_system(self, ref: Ref) -> ImmutableRef:
        """What a solved ref holds; it stays the bridge's."""
        from dockc.runtime.refs.result import ref_of

        if isinstance(ref, LeftRef):
            return ref.system
        assert ref.built is not None
        return ref_of(ref.built.result)

    def fetch(self, *systems: ImmutableRef, cancelled: threading.Event | None = None) -> None:
        """Have the files of file systems here, with the build's own credentials; blocks."""
        from dockc.runtime.refs.result import PROVIDERS

        for system in systems:
            system.prefetch(cancelled=cancelled, instead=self.lends.lent(PROVIDERS))

    def close(self) -> None:
        """Let go of all refs; the job waits for it."""
        for ref in self._refs:
            if ref.built is not None:
                self._job.let_go(ref.built)
                ref.built = None
        self._refs.clear()
        self.join_cache = None

    # --- files ----------------------------------------------------------------------------------------

    async def read_file(self, ref: Ref | None, path: str, *, offset: int = 0, length: int = 0) -> bytes:
        """A part of a regular file, `length` 0 for all of it; links are followed inside of the file system.

        Raises:
            DockcError: there is none (`no such file or directory`), or it is larger than `READ_LIMIT`.
            FailedStep: the file system could not be made.
        """
        if ref is None:
            raise missing(path)
        return await self._in_root(ref, partial(read_file, path=path, offset=offset, length=length))

    async def read_dir(self, ref: Ref | None, path: str, *, include: str = "") -> tuple[Stat, ...]:
        """The entries of a directory, by name; of a glob `include` only those that match.

        Raises:
            DockcError: there is no such directory.
            FailedStep: the file system could not be made.
        """
        if ref is None:
            return ()
        return await self._in_root(ref, partial(read_dir, path=path, include=include))

    async def stat_file(self, ref: Ref | None, path: str) -> Stat:
        """What is at a path; a link itself, not where it leads.

        Raises:
            DockcError: nothing (`no such file or directory`).
            FailedStep: the file system could not be made.
        """
        if ref is None:
            raise missing(path)
        return await self._in_root(ref, partial(stat_file, path=path))

    async def find_file(self, ref: Ref | None, path: str) -> bytes | None:
        """A small regular file, or None where there is none.

        Raises:
            FailedStep: the file system could not be made.
        """
        if ref is None:
            return None
        return await self._in_root(ref, lambda root: read_inside(root, path))

    async def _in_root(self, ref: Ref, read: Callable[[Path], T]) -> T:
        await self.evaluate(ref)
        system = self.file_system(ref)

        def work() -> T:
            self.fetch(system)
            with system.mount() as root:
                return read(root)

        return await self.work.blocking(work)

    async def digest_of_download(
        self, identifier: str, attrs: Mapping[str, str], filename: str, *, algorithm: str, suffix: bytes
    ) -> str:
        """The digest of what a URL gives with `suffix` after it, as `algorithm:hex`: what a signature over it signs.

        The rules may want to know it before they judge, so they are not asked.

        Args:
            identifier: the URL.
            attrs: of the source operation.
            filename: what the download is called.
            algorithm: `sha256`, `sha384` or `sha512`.
            suffix: a few bytes.

        Raises:
            DockcError: it cannot be had.
        """
        from dockc.llb.author import state
        from dockc.llb.sources import SourceSpec

        definition = state.source(SourceSpec(identifier, dict(attrs))).marshal()
        path = f"/{PurePosixPath(filename).name}"
        async with self.apart(judged=False) as quiet:
            ref = await quiet.load(definition)
            assert ref is not None
            reading = partial(digest_file, path=path, algorithm=algorithm, suffix=suffix)
            return await quiet._in_root(ref, reading)  # noqa: SLF001  of this class

    # --- everything else ------------------------------------------------------------------------------

    async def resolve_source_meta(
        self,
        identifier: str,
        attrs: Mapping[str, str] | None = None,
        *,
        platform: Platform | None = None,
        name: str = "",
    ) -> Found:
        """What a source stands for now: digest and config of an image, the commit of a repository, the digest of a
        download.

        Args:
            identifier: `docker-image://...`, `oci-layout://...`, `https://...` or `git://...`.
            attrs: of the source operation.
            platform: of an image; None for this machine's.
            name: what the step is called in the progress; "" for a name made of the identifier.

        Raises:
            DockcError: it cannot be found out.
        """
        if self.judges:
            identifier, attrs = await self.judge(identifier, attrs or {}, platform)
        return await self.look_up(identifier, attrs, platform=platform, name=name)

    async def look_up(
        self,
        identifier: str,
        attrs: Mapping[str, str] | None = None,
        *,
        platform: Platform | None = None,
        name: str = "",
    ) -> Found:
        """As `resolve_source_meta`, whatever the rules say: they may want to know before they judge.

        Raises:
            DockcError: it cannot be found out.
        """
        from dockc.engine.world import question

        asked = question(identifier, dict(attrs or {}), platform)
        with self.steps.step(name or f"resolve {identifier.partition('://')[2] or identifier}"):
            (found,) = await self.resolver().answer([asked])
        if isinstance(found, DockcError):
            raise found
        return found

    def resolver(self) -> Resolver:
        """Looks things up for this build."""
        from dockc.runtime.source.resolve import Resolver
        from dockc.runtime.source.seen import SEEN

        session = self.session
        return Resolver(
            self.work.worker.content,
            self.client,
            stores=session.stores,
            secrets=session.secrets,
            run=self.work.blocking,
            seen=SEEN.of(self._job.lends),
        )

    def warn(
        self,
        digest: str,
        short: str,
        *,
        level: int = 1,
        detail: Sequence[str] = (),
        url: str = "",
        filename: str = "",
        source: bytes = b"",
        ranges: Sequence[SourceRange] = (),
    ) -> None:
        """Show a warning at a step."""
        warning = VertexWarning(digest, level, short, tuple(detail), url, filename, source, tuple(ranges))
        self.steps.send(SolveStatus(warnings=(warning,)))

    def inputs(self) -> Mapping[str, Definition]:
        """Definitions that the client gave beside the request, by name.

        Raises:
            InvalidDefinition: one cannot be read.
        """
        from dockc.llb.definition import Definition

        return {name: Definition.parse(data) for name, data in self.request.inputs.items()}


def _platform(op: ops_pb2.Op) -> Platform | None:
    from dockc.oci.platform import Platform

    told = op.platform
    if not op.HasField("platform"):
        return None
    return Platform(told.OS, told.Architecture, told.Variant, told.OSVersion, tuple(told.OSFeatures))


async def given(bridge: Bridge) -> Result:
    """The frontend without a name: the request's own definition.

    Raises:
        InvalidDefinition: it cannot be read.
    """
    from dockc.llb.definition import Definition

    if not bridge.request.definition:
        return Result({"": None})
    definition = await bridge.work.blocking(lambda: Definition.parse(bridge.request.definition))
    return await bridge.solve(definition)
