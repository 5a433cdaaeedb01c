"""Write LLB in Python: `llb.image("debian").run("apt-get update").file(llb.mkdir("/out")).marshal()`.

A `State` is a file system that does not exist yet, and the surroundings (environment, directory, user...) that
the next command runs in. States never change; every method returns a new one. `marshal` gives the definition,
byte for byte as BuildKit's Go client does for the same calls.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Unpack

from dockc.base.record import fields_of, replace
from dockc.errors import UsageError
from dockc.golang.paths import join
from dockc.llb import caps as C  # noqa: N812
from dockc.llb import ops, sources
from dockc.llb.assemble import Assembler
from dockc.llb.author.vertex import (
    Base,
    Constraints,
    ExecVertex,
    FileAction,
    FileVertex,
    LayersVertex,
    Location,
    MadeVertex,
    Mount,
    Output,
    Secret,
    SourceMap,
    SourceVertex,
    Ssh,
    Surroundings,
    Vertex,
    walk,
)
from dockc.llb.definition import Definition, OpMetadata
from dockc.llb.wire import encode
from dockc.oci.platform import Platform
from dockc.oci.platform import parse as parse_platform

# --- states ---------------------------------------------------------------------------------------------


class State(Surroundings):
    """A file system to be, and the surroundings of the next command: `Surroundings` with what can be done in them."""

    # --- surroundings ---------------------------------------------------------------------------------

    def env(self, key: str, value: str) -> State:
        """Set a variable."""
        kept = tuple(kv for kv in self.environment if kv[0] != key)
        return replace(self, environment=(*kept, (key, value)))

    def dir(self, path: str) -> State:
        """Set the working directory; a relative one starts from the present one."""
        return replace(self, directory=path if path.startswith("/") else join(self.directory or "/", path))

    def user(self, name: str) -> State:
        """Set the user (`name`, `uid`, `user:group`)."""
        return replace(self, username=name)

    def hostname(self, name: str) -> State:
        """Set the host name."""
        return replace(self, host=name)

    def network(self, mode: int) -> State:
        """Set the network mode (`ops.Network.SANDBOX`, `Network.HOST`, `Network.NONE`)."""
        return replace(self, network_mode=mode)

    def security(self, mode: int) -> State:
        """Set the security mode (`ops.Security.SANDBOX`, `Security.INSECURE`)."""
        return replace(self, security_mode=mode)

    def extra_host(self, name: str, address: str) -> State:
        """Add a line to `/etc/hosts`."""
        return replace(self, hosts=(*self.hosts, (name, address)))

    def ulimit(self, name: str, soft: int, hard: int) -> State:
        """Add a resource limit."""
        return replace(self, ulimits=(*self.ulimits, (name, soft, hard)))

    def cgroup_parent(self, path: str) -> State:
        """Set the parent cgroup."""
        return replace(self, cgroup=path)

    def platform(self, platform: Platform | str) -> State:
        """Set the platform of commands."""
        return replace(self, os_platform=parse_platform(platform) if isinstance(platform, str) else platform)

    def with_image_config(self, config: bytes | str) -> State:
        """Take environment, working directory and platform from an image's configuration (JSON)."""
        image = json.loads(config)
        inner = image.get("config") or {}
        state = self
        for entry in inner.get("Env") or ():
            key, _, value = entry.partition("=")
            if key:
                state = state.env(key, value)
        state = state.dir(inner.get("WorkingDir") or "")
        if image.get("architecture") and image.get("os"):
            state = state.platform(
                Platform(
                    image["os"],
                    image["architecture"],
                    image.get("variant", ""),
                    image.get("os.version", ""),
                    tuple(image.get("os.features") or ()),
                )
            )
        return state

    # --- operations -----------------------------------------------------------------------------------

    def run(
        self,
        *args: str,
        shell: bool = False,
        mounts: Iterable[Mount] = (),
        secrets: Iterable[Secret] = (),
        ssh: Iterable[Ssh] = (),
        devices: Iterable[ops.Device] = (),
        proxy: ops.ProxyEnv | None = None,
        exit_codes: Sequence[int] | None = None,
        readonly_root: bool = False,
        **said: Unpack[Constraints],
    ) -> State:
        """Run a command in this file system.

        Args:
            args: the argument vector; a single text is split into words as a shell does.
            shell: hand the single text to `/bin/sh -c` instead.
            mounts: further directories.
            secrets: secret files and variables.
            ssh: agent sockets.
            devices: devices by CDI name.
            proxy: proxy variables outside the cache key.
            exit_codes: statuses that count as success.
            readonly_root: the command may not write to its root; the state stays as it is.
            **said: see `Constraints`.

        Raises:
            UsageError: no arguments.
        """
        if len(args) == 1:
            args = ("/bin/sh", "-c", args[0]) if shell else tuple(shlex.split(args[0]))
        if not args:
            raise UsageError("arguments are required")
        root = Mount("/", self, readonly=readonly_root)
        ordered = tuple(sorted((root, *mounts), key=lambda m: m.target))
        vertex = ExecVertex(
            said,
            self,
            tuple(args),
            ordered,
            tuple(secrets),
            tuple(ssh),
            tuple(devices),
            proxy,
            None if exit_codes is None else tuple(exit_codes),
        )
        made = self if readonly_root else self._with(vertex, lambda: vertex.index_of(root))
        fields = {name: getattr(made, name) for name in fields_of(State)}
        return Ran(**fields, vertex=vertex)

    def file(self, *actions: FileAction, **said: Unpack[Constraints]) -> State:
        """Change files: each action works on the result of the one before.

        Raises:
            UsageError: no actions.
        """
        if not actions:
            raise UsageError("action is required")
        return self._with(FileVertex(said, self, actions))

    def requires(self, label: str, *after: State) -> State:
        """This file system, once those in `after` are made too."""
        if not after:
            return self
        return self._with(LayersVertex({}, (self, *after), C.PASSTHROUGH_OP, label))

    def _with(self, vertex: Vertex, index: Callable[[], int] = lambda: 0) -> State:
        platform = vertex.platform()
        new = replace(_plain(self), output=Output(vertex, index, platform))
        return new if platform is None or isinstance(vertex, FileVertex) else new.platform(platform)

    # --- the definition -------------------------------------------------------------------------------

    def marshal(
        self,
        *,
        platform: Platform | str = "linux/amd64",
        caps: frozenset[str] | None = None,
        unique_id: str = "",
    ) -> Definition:
        """The definition of this file system.

        Args:
            platform: what operations that name none run on.
            caps: what the daemon understands, if that is known.
            unique_id: keeps local sources without a session apart from those of other clients.
        """
        if self.output is None:
            return Definition()
        base = Base(parse_platform(platform) if isinstance(platform, str) else platform, caps, unique_id)
        assembler = Assembler()
        names: dict[int, str] = {}

        def edge(output: Output) -> ops.Input:
            return ops.Input(names[id(output.vertex)], output.index())

        for vertex in walk(self.output.vertex):
            data, needed = vertex.encode(base, edge)
            name = names[id(vertex)] = encode.digest(data)
            assembler.add(name, data, vertex.metadata(needed))
            for place in vertex.said.get("at", ()):
                file = place.source
                number = assembler.file(file, file.filename, file.language, file.data, _origin(file, base))
                assembler.place(name, number, place.ranges)
        return assembler.finish(names[id(self.output.vertex)], self.output.index(), group_ids=False)

    def mount(self, target: str) -> State:
        """What the command just run left in its writable mount at `target`.

        Raises:
            UsageError: there is no such mount, it has no output, or the state is not what a command left.
        """
        raise UsageError(
            f"no mount at {target}: the state is not what a command left", hint="Call it on what `run` returns."
        )


class Ran(State):
    """The file system after a command, with what it left in its other mounts."""

    vertex: ExecVertex | None = None

    def mount(self, target: str) -> State:
        """See `State.mount`."""
        vertex = self.vertex
        assert vertex is not None
        for m in vertex.mounts:
            if m.target == target and m.has_output:
                surroundings = m.state or State()
                return replace(_plain(surroundings), output=Output(vertex, partial(vertex.index_of, m)))
        raise UsageError(f"the mount at {target} has no output")


def _plain(state: Surroundings) -> State:
    """The state without what a command left beside it."""
    return State(**{name: getattr(state, name) for name in fields_of(State)})


def _origin(file: SourceMap, base: Base) -> Callable[[], Definition | None]:
    origin = file.origin
    if origin is None:
        return lambda: None
    return lambda: _plain(origin).marshal(platform=base.platform, caps=base.caps, unique_id=base.unique)


# --- where states begin ---------------------------------------------------------------------------------


def scratch() -> State:
    """The empty file system."""
    return State()


def source(spec: sources.SourceSpec, **said: Unpack[Constraints]) -> State:
    """Any source; see `llb.sources`."""
    return State()._with(SourceVertex(said, spec))  # noqa: SLF001  of this module


def image(
    ref: str,
    *,
    resolve_mode: str = "",
    record_type: str = "",
    layer_limit: int | None = None,
    checksum: str = "",
    **said: Unpack[Constraints],
) -> State:
    """An image of a registry, by any form of its name.

    Raises:
        DockcError: the name is no reference.
    """
    from dockc.oci.reference import parse_normalized

    spec = sources.image(
        str(parse_normalized(ref).tag_name_only()),
        resolve_mode=resolve_mode,
        record_type=record_type,
        layer_limit=layer_limit,
        checksum=checksum,
    )
    return source(spec, **said)


def local(
    name: str,
    /,
    *,
    session: str = "",
    unique: str = "",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    follow: Sequence[str] = (),
    shared_key_hint: str = "",
    differ: str = "",
    differ_required: bool = False,
    **said: Unpack[Constraints],
) -> State:
    """A directory of the client, by the name under which it is offered."""
    spec = sources.local(
        name,
        session=session,
        unique=unique,
        include=include,
        exclude=exclude,
        follow=follow,
        shared_key_hint=shared_key_hint,
        differ=differ,
        differ_required=differ_required,
    )
    return source(spec, **said)


def git(
    url: str,
    *,
    ref: str = "",
    subdir: str = "",
    keep_git_dir: bool = False,
    checksum: str = "",
    skip_submodules: bool = False,
    auth_token_secret: str = "",
    auth_header_secret: str = "",
    known_ssh_hosts: str = "",
    mount_ssh_sock: str = "",
    mtime: str = "",
    fetch_by_commit: bool = False,
    **said: Unpack[Constraints],
) -> State:
    """A checkout of a git repository."""
    spec = sources.git(
        url,
        ref=ref,
        subdir=subdir,
        keep_git_dir=keep_git_dir,
        checksum=checksum,
        skip_submodules=skip_submodules,
        auth_token_secret=auth_token_secret,
        auth_header_secret=auth_header_secret,
        known_ssh_hosts=known_ssh_hosts,
        mount_ssh_sock=mount_ssh_sock,
        mtime=mtime,
        fetch_by_commit=fetch_by_commit,
    )
    return source(spec, **said)


def http(
    url: str,
    *,
    checksum: str = "",
    filename: str = "",
    perm: int = 0,
    uid: int = 0,
    gid: int = 0,
    auth_header_secret: str = "",
    accept: str = "",
    user_agent: str = "",
    **said: Unpack[Constraints],
) -> State:
    """A file fetched over HTTP, as a directory that holds it under `filename`."""
    spec = sources.http(
        url,
        checksum=checksum,
        filename=filename,
        perm=perm,
        uid=uid,
        gid=gid,
        auth_header_secret=auth_header_secret,
        accept=accept,
        user_agent=user_agent,
    )
    return source(spec, **said)


def oci_layout(
    ref: str,
    *,
    session: str = "",
    store: str = "",
    layer_limit: int | None = None,
    **said: Unpack[Constraints],
) -> State:
    """An image of an OCI layout that the client offers."""
    return source(sources.oci_layout(ref, session=session, store=store, layer_limit=layer_limit), **said)


def from_definition(definition: Definition) -> State:
    """The result of a definition that exists already; its operations keep their bytes and metadata."""
    head = definition.head
    if head is None:
        return State()
    parsed = {name: (data, ops.parse(data)) for name, data in definition.ops}
    files = definition.source.infos if definition.source else ()
    maps = [
        SourceMap(f.filename, f.data, f.language, None if f.definition is None else from_definition(f.definition))
        for f in files
    ]
    made: dict[str, MadeVertex] = {}
    stack = [head[0]]
    while stack:
        name = stack[-1]
        data, op = parsed[name]
        missing = [i.digest for i in op.inputs if i.digest not in made]
        if name in made or not missing:
            stack.pop()
            if name not in made:
                places = definition.source.locations.get(name, ()) if definition.source else ()
                at = [Location(maps[p.index], p.ranges) for p in places if p.index < len(maps)]
                reads = [Output(made[i.digest], _constant(i.index)) for i in op.inputs]
                said: Constraints = {"at": at}
                made[name] = MadeVertex(said, data, reads, definition.metadata.get(name, OpMetadata()))
        else:
            stack += missing
    return State(output=Output(made[head[0]], _constant(head[1])))


def _constant(index: int) -> Callable[[], int]:
    return lambda: index


def merge(*states: State, **said: Unpack[Constraints]) -> State:
    """File systems laid over each other; later ones win, empty ones do not count."""
    present = tuple(s for s in states if s.output is not None)
    if len(present) < 2:
        return present[0] if present else State()
    return present[0]._with(LayersVertex(said, present, C.MERGE_OP))  # noqa: SLF001  of this module


def diff(lower: State, upper: State, **said: Unpack[Constraints]) -> State:
    """What `upper` changed against `lower`."""
    if lower.output is None:
        return upper
    return lower._with(LayersVertex(said, (lower, upper), C.DIFF_OP))  # noqa: SLF001  of this module
