"""The file operation: copy, make and remove files without running a process.

Actions form a graph: each changes what an input or an earlier action left, and may read another. Whatever
only the next action needs stays one writable snapshot; it is committed where it is an output or read more
than once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from dockc.base.record import Mutable
from dockc.errors import DockcError, InvalidDefinition
from dockc.runtime.fsutil import actions
from dockc.runtime.fsutil.failure import check
from dockc.runtime.fsutil.inroot import Root
from dockc.runtime.fsutil.remarks import Remark
from dockc.runtime.fsutil.users import Owner, find_group, find_user
from dockc.runtime.ops.filekey import NO_INPUT, file_key, outermost
from dockc.runtime.ops.paths import check_file
from dockc.runtime.refs.contenthash import digest_by
from dockc.runtime.refs.failed import leave
from dockc.runtime.refs.result import RefResult, make_present, ref_of
from dockc.solver.op import CacheDep, CacheMap
from dockc.solver.progress import VertexWarning

if TYPE_CHECKING:
    import threading

    from dockc.llb.pb import ops_pb2
    from dockc.runtime.refs.manager import RefManager
    from dockc.runtime.refs.ref import ImmutableRef, MutableRef
    from dockc.runtime.store.worker import Worker
    from dockc.solver.op import OpContext
    from dockc.solver.result import Result
    from dockc.solver.vertex import Vertex


class FileOp:
    """A vertex that changes files (`solver.op.Op`)."""

    def __init__(self, vertex: Vertex, worker: Worker) -> None:
        """Check the operation.

        Raises:
            InvalidDefinition: actions that cannot be done.
        """
        self._refs = worker.refs
        self._name, self._digest = vertex.name, vertex.digest
        self._op = vertex.op.file
        self._inputs = len(vertex.inputs)
        check_file(self._op)
        self._plan = _Plan(self._op, self._inputs)

    async def cache_map(self, ctx: OpContext) -> CacheMap:
        """See `solver.op.Op.cache_map`."""
        key = file_key(self._op, self._inputs)
        deps = tuple(
            CacheDep(
                selector=key.selector_digest(index),
                content_digest=None
                if selectors is None
                else digest_by(outermost(selectors), index, key.selector_digest(index)),
                preprocess=make_present,
            )
            for index, selectors in enumerate(key.inputs)
        )
        return CacheMap(key.digest, deps, key.preimage)

    async def exec(self, ctx: OpContext, inputs: Sequence[Result]) -> Sequence[Result | None]:
        """See `solver.op.Op.exec`."""
        refs = [ref_of(result) for result in inputs]

        def remark(text: str) -> None:
            ctx.warn(VertexWarning(self._digest, short=text))

        made = await ctx.run_blocking(self._run, refs, ctx, remark)
        return [RefResult(ref) for ref in made]

    def _run(self, inputs: list[ImmutableRef], ctx: OpContext, remark: Remark) -> list[ImmutableRef]:
        with _Run(self._refs, self._plan, inputs, self._name or "fileop target", ctx.cancelled, remark) as run:
            try:
                return run.outputs()
            except DockcError:
                if not ctx.cancelled.is_set():
                    leave(ctx, inputs, run.left, action=run.acting)
                raise


class _Plan:
    """The actions of an operation, checked and put in order.

    Places are numbered as in LLB: the inputs of the vertex first, then what each action leaves.

    Attributes:
        inputs: how many inputs there are.
        actions: the actions, in the order of the definition.
        outputs: for each output of the vertex, its place.
        order: numbers of the actions that some output needs, each after those it needs.
        commit: places that are outputs or are read more than once.
    """

    def __init__(self, op: ops_pb2.FileOp, inputs: int) -> None:
        self.inputs = inputs
        self.actions = tuple(op.actions)
        places = inputs + len(self.actions)
        outputs: dict[int, int] = {}
        self.commit: set[int] = set()
        read: set[int] = set()
        for number, action in enumerate(self.actions):
            if not NO_INPUT <= action.input < places:
                raise InvalidDefinition(f"invalid input index {action.input}, {places} provided")
            if not NO_INPUT <= action.secondaryInput < places:
                raise InvalidDefinition(f"invalid secondary input index {action.input}, {inputs} provided")
            for place in self._reads(action):
                if place in read:
                    self.commit.add(place)
                read.add(place)
            if action.output != NO_INPUT:
                if action.output in outputs:
                    raise InvalidDefinition(f"duplicate output {action.output}")
                outputs[action.output] = inputs + number
        if not outputs:
            raise InvalidDefinition("no outputs specified")
        for index in range(len(outputs)):
            if index not in outputs:
                raise InvalidDefinition(f"missing output index {index}")
        self.outputs = tuple(outputs[index] for index in range(len(outputs)))
        self.commit.update(self.outputs)
        self.order = self._sort()

    def _reads(self, action: ops_pb2.FileAction) -> Iterator[int]:
        """The places that an action uses, the one it changes first."""
        if action.input != NO_INPUT:
            yield action.input
        if action.secondaryInput != NO_INPUT:
            yield action.secondaryInput
        for option in _owner_options(action):
            if option.WhichOneof("user") == "byName":
                place = option.byName.input
                if not 0 <= place < self.inputs + len(self.actions):
                    raise InvalidDefinition(f"invalid user index: {place}")
                yield place

    def _sort(self) -> tuple[int, ...]:
        order: list[int] = []
        state: dict[int, bool] = {}  # False while a place's needs are being put in order, True afterwards
        pending = [(place, False) for place in reversed(self.outputs)]
        while pending:
            place, ready = pending.pop()
            if place < self.inputs or state.get(place) is True:
                continue
            if ready:
                state[place] = True
                order.append(place - self.inputs)
                continue
            if place in state:
                raise InvalidDefinition(f"loop from index {place}")
            state[place] = False
            pending.append((place, True))
            for needed in self._reads(self.actions[place - self.inputs]):
                if state.get(needed) is False:
                    raise InvalidDefinition(f"loop from index {needed}")
                if needed not in state:
                    pending.append((needed, False))
        return tuple(order)


def _owner_options(action: ops_pb2.FileAction) -> Iterator[ops_pb2.UserOpt]:
    kind = action.WhichOneof("action")
    if kind is None or kind == "rm":
        return
    message = getattr(action, kind)
    if message.HasField("owner"):
        for name in ("user", "group"):
            if message.owner.HasField(name):
                yield getattr(message.owner, name)


class _Writable(Mutable):
    """A snapshot that actions are changing, mounted all the while."""

    ref: MutableRef
    mounted: ExitStack
    root: Root


class _Run:
    """One execution. Use as a context manager: whatever has not become an output is given up at its end.

    Mutable state: `_done` (committed places), `_open` (places that are still being written), `_mounts`
    (committed places that are mounted for reading).
    """

    def __init__(
        self,
        refs: RefManager,
        plan: _Plan,
        inputs: Sequence[ImmutableRef],
        description: str,
        cancelled: threading.Event,
        remark: Remark,
    ) -> None:
        self._remark = remark
        self._refs = refs
        self._plan = plan
        self._inputs = inputs
        self._description = description
        self._cancelled = cancelled
        self._done: dict[int, ImmutableRef] = {}
        self._open: dict[int, _Writable] = {}
        self._reading = ExitStack()
        self._mounts: dict[int, Root] = {}
        self.acting = 0

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            for ref in self._done.values():
                stack.callback(ref.release)
            for writable in self._open.values():
                stack.callback(writable.ref.release)
                stack.callback(writable.mounted.close)
            stack.callback(self._reading.close)

    def outputs(self) -> list[ImmutableRef]:
        """Do all actions; the outputs, which become the caller's."""
        for number in self._plan.order:
            check(self._cancelled)
            self.acting = number
            self._act(self._plan.inputs + number, self._plan.actions[number])
        return [self._done[place].clone() for place in self._plan.outputs]

    def left(self) -> list[ImmutableRef | None]:
        """What the actions have made so far, and what the one that failed was about to; the caller owns the holds."""
        found: list[ImmutableRef | None] = []
        for number in range(len(self._plan.actions)):
            place = self._plan.inputs + number
            if place in self._open:
                self._commit(place)
            done = self._done.get(place)
            found.append(None if done is None else done.clone())
        return found

    def _act(self, place: int, action: ops_pb2.FileAction) -> None:
        writable = self._writable(action.input)
        self._open[place] = writable
        root = writable.root
        kind = action.WhichOneof("action")
        if kind == "copy":
            source = self._readable(action.secondaryInput)
            owner = self._owner(action.copy.owner) if action.copy.HasField("owner") else None
            fresh = action.input == NO_INPUT
            actions.copy_action(source, root, action.copy, owner, self._cancelled, self._remark, fresh=fresh)
        elif kind == "mkfile":
            owner = self._owner(action.mkfile.owner) if action.mkfile.HasField("owner") else None
            actions.mkfile(root, action.mkfile, owner)
        elif kind == "mkdir":
            owner = self._owner(action.mkdir.owner) if action.mkdir.HasField("owner") else None
            actions.mkdir(root, action.mkdir, owner)
        elif kind == "symlink":
            owner = self._owner(action.symlink.owner) if action.symlink.HasField("owner") else None
            actions.symlink(root, action.symlink, owner)
        elif kind == "rm":
            actions.rm(root, action.rm, self._cancelled)
        else:
            raise InvalidDefinition("invalid file action: no kind")
        if place in self._plan.commit:
            self._commit(place)

    def _commit(self, place: int) -> None:
        writable = self._open[place]
        writable.mounted.close()
        self._done[place] = writable.ref.commit()
        del self._open[place]

    def _writable(self, place: int) -> _Writable:
        """The snapshot an action changes: the one its input left behind, or a new one on top of it."""
        if place in self._open:
            return self._open.pop(place)
        parent = None if place == NO_INPUT else self._committed(place)
        ref = self._refs.new_mutable(parent, description=self._description)
        mounted = ExitStack()
        try:
            root = mounted.enter_context(Root(mounted.enter_context(ref.mount(cancelled=self._cancelled))))
        except BaseException:
            mounted.close()
            ref.release()
            raise
        return _Writable(ref, mounted, root)

    def _committed(self, place: int) -> ImmutableRef:
        return self._inputs[place] if place < self._plan.inputs else self._done[place]

    def _readable(self, place: int) -> Root:
        """What an action reads."""
        if place in self._open:
            return self._open[place].root
        if place not in self._mounts:
            if place == NO_INPUT:
                ref = self._refs.scratch()
                self._reading.callback(ref.release)
            else:
                ref = self._committed(place)
            mounted = self._reading.enter_context(ref.reading(cancelled=self._cancelled))
            self._mounts[place] = self._reading.enter_context(Root(mounted))
        return self._mounts[place]

    def _owner(self, option: ops_pb2.ChownOpt) -> Owner:
        """The ids that an action gives its files; names that are not found count as root, as the reference does."""
        uid = gid = 0
        user = option.user.WhichOneof("user") if option.HasField("user") else None
        if user == "byID":
            uid = gid = option.user.byID
        elif user == "byName":
            found = find_user(self._readable(option.user.byName.input), option.user.byName.name)
            if found is not None:
                uid, gid = found.uid, found.gid
        group = option.group.WhichOneof("user") if option.HasField("group") else None
        if group == "byID":
            gid = option.group.byID
        elif group == "byName":
            group_id = find_group(self._readable(option.group.byName.input), option.group.byName.name)
            if group_id is not None:
                gid = group_id
        return Owner(uid, gid)
