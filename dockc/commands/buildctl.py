"""`dockc buildctl`: the words of BuildKit's own client, so that scripts move over without a change.

What it prints is in buildctl's form. Words that ask for what is not there are refused by name.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import stat
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockc.base.files import read_regular
from dockc.base.options import Options, argument
from dockc.base.version import VERSION
from dockc.client import address, caches
from dockc.client.control import BuildSpec, Export, Remote, metadata_of, through_frontend
from dockc.commands.remote import until_told
from dockc.errors import DockcError, UsageError
from dockc.golang.flags import Flags

if TYPE_CHECKING:
    from dockc.base.output import Output

_LIMIT = 256 << 20
"""Bytes of a file of LLB or of a policy at most."""


class BuildctlOptions(Options):
    """BuildKit's client in its own words: build, du, prune, prune-histories, debug and dial-stdio; `dockc buildctl
    --help` lists them.
    """

    words: tuple[str, ...] = argument(help="What would follow `buildctl`.")
    interspersed = False
    examples = ("dockc buildctl --addr unix:///run/buildkit/buildkitd.sock debug workers",)


def run(options: BuildctlOptions, out: Output) -> int:
    """`dockc buildctl`.

    Raises:
        DockcError: whatever goes wrong on purpose.
    """
    return main(options.words, out)


_MEGABYTE = 1_000_000


class _Shown:
    """Where results go; a daemon's words that are none, such as those that move a terminal's cursor, are made visible."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def write(self, data: str | bytes) -> None:
        """See `Output.write`; bytes are a blob, and stay as they are."""
        from dockc.console.errors import visible

        self._out.write(visible(data) if isinstance(data, str) else data)


def main(arguments: Sequence[str], out: Output) -> int:
    """Do what buildctl does with these arguments.

    Raises:
        DockcError: whatever goes wrong on purpose.
    """
    options = _parser().read(arguments, argparse.Namespace(out=_Shown(out)))
    if options.log_format not in {"text", "json"}:
        raise UsageError(f"unsupported log format {options.log_format}")
    result = options.action(options)
    return result if isinstance(result, int) else until_told(result)


def _parser() -> Flags:
    parser = Flags("dockc buildctl", description="What BuildKit's buildctl does, in its words.")
    parser.set_defaults(action=_help(parser))
    parser.add_argument("--version", "-v", action="version", version=f"buildctl of dockc {VERSION}")
    parser.add_argument("--debug", action="store_true", help="accepted for scripts; errors are always whole")
    default = os.environ.get("BUILDKIT_HOST") or "unix:///run/buildkit/buildkitd.sock"
    parser.add_argument("--addr", default=default, metavar="URL", help=f"the daemon's address (default: {default})")
    parser.add_argument("--log-format", default="text", help=argparse.SUPPRESS)
    parser.add_argument("--tlsservername", default="", metavar="NAME", help="name that the daemon's certificate is for")
    parser.add_argument("--tlscacert", default="", metavar="FILE", help="certificate authority")
    parser.add_argument("--tlscert", default="", metavar="FILE", help="client certificate")
    parser.add_argument("--tlskey", default="", metavar="FILE", help="client key")
    parser.add_argument("--tlsdir", default="", metavar="DIR", help="directory with all three")
    parser.add_argument("--timeout", type=int, default=5, metavar="SECONDS", help="how long a connection may take")
    parser.add_argument("--wait", action="store_true", help="wait until the daemon answers")
    words = parser.add_subparsers(metavar="COMMAND")
    _build_words(words)
    _listing(_sub(words, "du", _du, "disk usage"))
    prune = _sub(words, "prune", _prune, "remove cached data")
    _listing(prune)
    prune.add_argument("--keep-duration", default="0", metavar="DURATION")
    for name in ("--keep-storage", "--keep-storage-min", "--free-storage"):
        prune.add_argument(name, type=float, default=0, metavar="MB")
    prune.add_argument("--all", action="store_true")
    histories = _sub(words, "prune-histories", _prune_histories, "forget finished builds")
    histories.add_argument("--format", default="")
    _sub(words, "dial-stdio", _dial, "carry bytes between the standard streams and the daemon")
    inside = words.add_parser("debug", help="look inside")
    inside.set_defaults(action=_help(inside))
    debug = inside.add_subparsers(metavar="WHAT")
    _listing(_sub(debug, "workers", _workers, "list workers"))
    _sub(debug, "info", _info, "version of the daemon").add_argument("--format", default="")
    dump = _sub(debug, "dump-llb", _dump_llb, "print LLB as JSON, or as a graph of Graphviz")
    dump.add_argument("--dot", action="store_true")
    dump.add_argument("file", nargs="?", default="-")
    metadata = _sub(debug, "dump-metadata", _dump_metadata, None)
    metadata.add_argument("--root", default="")
    monitor = _sub(debug, "monitor", _monitor, "print what builds there are as they come")
    monitor.add_argument("--completed", action="store_true")
    monitor.add_argument("--ref", default="")
    logs = _sub(debug, "logs", _logs, "progress of a build")
    logs.add_argument("--progress", default="auto")
    logs.add_argument("--trace", action="store_true")
    logs.add_argument("ref")
    _sub(debug, "histories", _histories, "list finished builds").add_argument("--format", default="")
    ctl = _sub(debug, "ctl", _ctl, "change the record of a build")
    for name in ("--pin", "--unpin", "--delete"):
        ctl.add_argument(name, action="store_true")
    ctl.add_argument("ref")
    get = _sub(debug, "get", _get, "print a blob of the daemon")
    get.add_argument("digest")
    return parser


def _sub(words: Any, name: str, action: Callable[[argparse.Namespace], Any], text: str | None) -> Flags:
    made: Flags = words.add_parser(name, **({"help": text} if text else {}))
    made.set_defaults(action=action)
    return made


def _help(parser: Flags) -> Callable[[argparse.Namespace], int]:
    def show(_: argparse.Namespace) -> int:
        parser.print_help()
        return 0

    return show


def _listing(parser: Flags) -> None:
    parser.add_argument("--filter", "-f", action="append", default=[])
    parser.add_argument("--verbose", "-v", action="store_true")
    parser.add_argument("--format", default="")


def _build_words(words: Any) -> None:
    for name in ("build", "b"):
        build = _sub(words, name, _build, "build" if name == "build" else None)
        build.add_argument("--output", "-o", action="append", default=[], metavar="type=TYPE,...")
        build.add_argument("--progress", default="auto")
        for flag in (
            "--local",
            "--oci-layout",
            "--opt",
            "--secret",
            "--ssh",
            "--allow",
            "--export-cache",
            "--import-cache",
        ):
            build.add_argument(flag, action="append", default=[])
        build.add_argument("--frontend", default="")
        build.add_argument("--no-cache", action="store_true")
        for flag in ("--metadata-file", "--source-policy-file", "--ref-file"):
            build.add_argument(flag, default="", metavar="FILE")
        build.add_argument("--trace", default="", metavar="FILE", help="file that gets the progress, a status a line")
        build.add_argument(
            "--debug-json-cache-metrics",
            default="",
            metavar="FILE",
            help="file that is told what came from the cache; stdout or stderr for those",
        )
        build.add_argument("--proxy-network", action="store_true", help="the network of steps leads through a proxy")
        build.add_argument(
            "--registry-auth-tlscontext",
            action="append",
            default=[],
            metavar="host=NAME,ca=FILE,cert=FILE,key=FILE,insecure=BOOL",
            help="certificates for a registry's token server; may be repeated",
        )


# --- the connection -------------------------------------------------------------------------------------


def _place(options: argparse.Namespace) -> tuple[address.Address, address.Tls | None]:
    single = (options.tlscacert, options.tlscert, options.tlskey)
    if options.tlsdir:
        if any(single):
            raise UsageError("cannot specify tlsdir and tlscacert/tlscert/tlskey at the same time")
        tls = address.Tls.of_directory(options.tlsdir, options.tlsservername)
    else:
        tls = address.Tls(options.tlscacert, options.tlscert, options.tlskey, options.tlsservername)
    return address.parse(options.addr), tls if tls else None


async def _connect(options: argparse.Namespace) -> address.Link:
    where, tls = _place(options)
    pause = 0.1
    while True:
        try:
            return await address.connect(where, tls, limit=options.timeout)
        except DockcError as exc:
            if not options.wait or isinstance(exc, UsageError):
                raise
        await asyncio.sleep(pause)
        pause = min(pause * 2, 2.0)


@asynccontextmanager
async def _remote(options: argparse.Namespace) -> AsyncIterator[Remote]:
    link = await _connect(options)
    try:
        yield Remote(link)
    finally:
        await link.close()


# --- what can be asked ----------------------------------------------------------------------------------


async def _workers(options: argparse.Namespace) -> int:
    from dockc.commands import buildctltext as text

    form = text.template(options.format)
    async with _remote(options) as remote:
        found = await remote.workers(options.filter)
    if form is not None:
        options.out.write(text.rendered(form, [text.worker(one) for one in found]))
    else:
        options.out.write((text.workers_verbose if options.verbose else text.workers_table)(found))
    return 0


async def _info(options: argparse.Namespace) -> int:
    from dockc.commands import buildctltext as text

    form = text.template(options.format)
    async with _remote(options) as remote:
        version = await remote.info()
    options.out.write(text.info(version) if form is None else text.rendered(form, text.info_value(version)))
    return 0


async def _du(options: argparse.Namespace) -> int:
    from dockc.commands import buildctltext as text
    from dockc.golang.template import NoList

    form = text.template(options.format)
    async with _remote(options) as remote:
        records = text.ordered(await remote.usage(options.filter))
    if form is not None:
        options.out.write(text.rendered(form, [text.record(one) for one in records] or NoList()))
        return 0
    if options.verbose:
        options.out.write("".join(map(text.verbose, records)))
    else:
        options.out.write(text.rows(records))
    if not options.filter:
        options.out.write(text.summary(records))
    return 0


async def _prune(options: argparse.Namespace) -> int:
    from dockc.commands import buildctltext as text
    from dockc.golang.durations import DurationError, parse_duration
    from dockc.rpc.pb import control_pb2

    form = text.template(options.format)
    try:
        keep = parse_duration(options.keep_duration)
    except DurationError as exc:
        raise UsageError(f"--keep-duration: {exc}") from None
    request = control_pb2.PruneRequest(
        filter=options.filter,
        all=options.all,
        keepDuration=keep,
        maxUsedSpace=int(options.keep_storage * _MEGABYTE),
        reservedSpace=int(options.keep_storage_min * _MEGABYTE),
        minFreeSpace=int(options.free_storage * _MEGABYTE),
    )
    total, first = 0, True
    async with _remote(options) as remote:
        async for one in remote.prune(request):
            total += one.Size
            if form is not None:
                options.out.write(text.rendered(form, text.record(one)))
            elif options.verbose:
                options.out.write(text.verbose(one))
            else:
                options.out.write(text.rows([one], header=first))
            first = False
    if form is None:
        options.out.write(text.total(total))
    return 0


# --- builds that were -----------------------------------------------------------------------------------


async def _prune_histories(options: argparse.Namespace) -> int:
    from dockc.commands import buildctlhistory

    async with _remote(options) as remote:
        return await buildctlhistory.prune(remote, options.format, options.out.write)


async def _histories(options: argparse.Namespace) -> int:
    from dockc.commands import buildctlhistory

    async with _remote(options) as remote:
        return await buildctlhistory.listed(remote, options.format, options.out.write)


async def _monitor(options: argparse.Namespace) -> int:
    from dockc.commands import buildctlhistory

    async with _remote(options) as remote:
        return await buildctlhistory.watch(remote, options.ref, options.out.write, completed=options.completed)


async def _ctl(options: argparse.Namespace) -> int:
    from dockc.rpc.pb import control_pb2

    if options.pin + options.unpin + options.delete != 1:
        raise UsageError("must specify one of --pin, --unpin, --delete")
    request = control_pb2.UpdateBuildHistoryRequest(Ref=options.ref, Pinned=options.pin, Delete=options.delete)
    async with _remote(options) as remote:
        await remote.update_history(request)
    return 0


async def _logs(options: argparse.Namespace) -> int:
    from dockc.console.view import make_view
    from dockc.protocol.status import from_wire

    if options.trace:
        return await _trace(options)
    view = make_view(options.progress, sys.stderr)
    async with _remote(options) as remote:
        async for response in remote.watch(options.ref):
            view(from_wire(response))
    view.finish()
    return 0


async def _trace(options: argparse.Namespace) -> int:
    """The trace that is kept with a build, a span a line."""
    from dockc.rpc.pb import control_pb2

    async with _remote(options) as remote:
        digest = ""
        async for event in remote.history(control_pb2.BuildHistoryRequest(Ref=options.ref, EarlyExit=True)):
            digest = event.record.trace.digest
        if not digest:
            raise UsageError(f"ref {options.ref} does not have trace")
        await _write_blob(options, remote, digest)
    return 0


async def _get(options: argparse.Namespace) -> int:
    async with _remote(options) as remote:
        await _write_blob(options, remote, options.digest)
    return 0


async def _write_blob(options: argparse.Namespace, remote: Remote, digest: str) -> None:
    from dockc.protocol.names import CONTENT
    from dockc.rpc.pb import content_pb2

    request = content_pb2.ReadContentRequest(digest=digest)
    async for part in remote.stream(CONTENT + "Read", request, content_pb2.ReadContentResponse):
        options.out.write(part.data)


def _dial(options: argparse.Namespace) -> int:
    where, tls = _place(options)
    address.relay(where, tls, limit=options.timeout)
    return 0


def _dump_llb(options: argparse.Namespace) -> int:
    from dockc.llb.definition import Definition
    from dockc.llb.text import dot, json_lines

    options.out.write((dot if options.dot else json_lines)(Definition.parse(_read(options.file))))
    return 0


def _dump_metadata(options: argparse.Namespace) -> int:
    raise UsageError(
        "buildctl debug dump-metadata is not supported: it opens the database that buildkitd keeps in its root",
        hint="`dockc store` and `dockc buildctl du --verbose` show what a store of dockc has.",
    )


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return read_regular(name, _LIMIT)
    except OSError as exc:
        raise UsageError(f"cannot read {name}: {exc.strerror}") from exc


# --- build ----------------------------------------------------------------------------------------------


def _build(options: argparse.Namespace) -> Coroutine[Any, Any, int]:
    from dockc.client.authority import trusts

    trusts(options.registry_auth_tlscontext)  # what is wrong with it is said before anything is read
    definition = b""
    if not options.frontend:
        if stat.S_ISCHR(os.fstat(0).st_mode):
            raise UsageError("please specify --frontend or pipe LLB definition to stdin")
        definition = _read("-")
        if not definition:
            raise UsageError("empty definition sent to build. Specify --frontend instead?")
        if options.no_cache:
            definition = _without_cache(definition)
    return _with_turns(options, definition)


def _without_cache(definition: bytes) -> bytes:
    import hashlib

    from dockc.llb.definition import Definition
    from dockc.llb.pb import ops_pb2

    Definition.parse(definition)  # what is wrong with it is said
    found = ops_pb2.Definition.FromString(definition)
    for op in getattr(found, "def"):
        found.metadata["sha256:" + hashlib.sha256(op).hexdigest()].ignore_cache = True
    data: bytes = found.SerializeToString(deterministic=True)
    return data


def _pairs(texts: Sequence[str], what: str) -> dict[str, str]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"invalid {what}: invalid value {text}, expected k=v")
        found[key] = value
    return found


def _frontend_options(texts: Sequence[str]) -> dict[str, str]:
    """Options of the frontend. A build argument without a value has that of the environment, or is none."""
    found = {"build-arg:SOURCE_DATE_EPOCH": epoch} if (epoch := os.environ.get("SOURCE_DATE_EPOCH")) is not None else {}
    given = []
    for text in texts:
        name = text.removeprefix("build-arg:")
        if name in {text, ""} or "=" in name:
            given.append(text)
        elif name in os.environ:
            given.append(f"{text}={os.environ[name]}")
    return found | _pairs(given, "opt")


def _exports(texts: Sequence[str]) -> tuple[Export, ...]:
    from dockc.client.building import exported
    from dockc.runtime.exporter.options import Output, split_output

    found = []
    for text in texts:
        if "=" not in text.partition(",")[0]:
            raise UsageError(f"invalid value {text}", hint="-o type=TYPE,NAME=VALUE,...")
        kind, dest, attrs = split_output(text)
        if kind in {"local", "tar", "oci", "docker"}:
            output = Output(kind, dest, attrs)
            if output.is_directory and not dest:
                raise UsageError(f"dest is required for {kind} exporter")
            if kind == "docker" and not dest:
                output = Output(kind, "-", attrs)
            export = exported(output, ())
            assert export is not None
            found.append(export)
        else:
            found.append(Export(kind, attrs))
    return tuple(found)


async def _with_turns(options: argparse.Namespace, definition: bytes) -> int:
    with caches.Turns() as turns:
        return await _build_there(options, definition, turns)


async def _build_there(options: argparse.Namespace, definition: bytes, turns: caches.Turns) -> int:
    from dockc.client.authority import trusts
    from dockc.client.session import Session, shared_key
    from dockc.commands import buildctlviews
    from dockc.commands.ending import FAILED
    from dockc.commands.traced import traced
    from dockc.console.view import make_view
    from dockc.runtime.registry.credentials import DockerConfig
    from dockc.runtime.session.secrets import ClientSecrets, ClientSsh, parse_secret

    exports = _exports(options.output)
    attrs = _frontend_options(options.opt)
    if options.no_cache:
        attrs["no-cache"] = ""
    session = Session(shared_key=shared_key([one.partition("=")[2] for one in sorted(options.local)]))
    session.lend_directories(_directories(options.local))
    session.lend_credentials(DockerConfig.load(), trusts(options.registry_auth_tlscontext))
    if options.secret:
        session.lend_secrets(ClientSecrets([parse_secret(text) for text in options.secret]))
    if options.ssh:
        session.lend_ssh(ClientSsh(options.ssh))
    imports, lent = caches.imports(options.import_cache)
    cache_exports, places = caches.exports(options.export_cache)
    turns.begin(cache_exports)
    layouts = {f"oci:{name}": Path(path) for name, path in _pairs(options.oci_layout, "oci-layout").items()}
    session.lend_stores(
        {**lent, **places, **layouts, **dict([("export", Path(one.store)) for one in exports if one.store][-1:])}
    )
    ref = secrets.token_hex(12)
    beside = buildctlviews.Beside(options.trace, options.debug_json_cache_metrics)
    view = beside.joined(make_view(options.progress, sys.stderr))
    # As buildctl does: the daemon is told, too, and keeps it with the build.
    tracing = traced(view, "build", for_builder=True)
    spec = BuildSpec(
        session=session,
        exports=exports,
        frontend=options.frontend,
        frontend_attrs=attrs,
        entitlements=tuple(options.allow),
        cache_imports=tuple(imports),
        cache_exports=tuple(cache_exports),
        policy=_read(options.source_policy_file).decode("utf-8", "replace") if options.source_policy_file else "",
        proxy_network=options.proxy_network,
        ref=ref,
        metadata=tracing.metadata if tracing is not None else (),
        spans=tracing.own if tracing is not None else None,
    )
    if "requestid" in attrs:
        attrs.setdefault("frontend.caps", "moby.buildkit.frontend.subrequests")
    answered: dict[str, bytes] = {}

    async def drive(bridge: Any) -> Any:
        result = await through_frontend(bridge, spec, definition)
        if "requestid" in attrs:
            answered.update(result.metadata)
        return result

    try:
        async with _remote(options) as remote:
            response = await remote.build(spec, drive, view)
    except BaseException as exc:
        view.finish(exc)
        if tracing is not None:
            tracing.end(exc, alone=True)
        if isinstance(exc, DockcError) and not isinstance(exc, UsageError):
            exc.context = FAILED
        raise
    finally:
        if options.ref_file:
            await asyncio.to_thread(_write, options.ref_file, ref.encode())
    view.finish()
    if tracing is not None:
        await asyncio.to_thread(tracing.end, None, alone=True)
    await _done(options, exports, response)
    turns.note(cache_exports, response)
    if "result.txt" in answered:
        options.out.write(answered["result.txt"].decode("utf-8", "replace"))
    elif "result.json" in answered:
        options.out.write(answered["result.json"].decode("utf-8", "replace"))
    beside.finish(options.out.write)
    status = answered.get("result.statuscode", b"0")
    return int(status) if status.isdigit() else 0


async def _done(
    options: argparse.Namespace,
    exports: Sequence[Export],
    response: dict[str, str],
) -> None:
    """Write down what a build has made: indices, the file of metadata."""
    from dockc.client.building import index
    from dockc.golang.text import dump_json

    for one in exports:
        if one.store:
            await asyncio.to_thread(index, one, response)
    if options.metadata_file:
        await asyncio.to_thread(_write, options.metadata_file, dump_json(metadata_of(response), indent=2))


def _directories(texts: Sequence[str]) -> Mapping[str, Path]:
    found = {}
    for name, path in _pairs(texts, "local").items():
        if not Path(path).is_dir():
            raise UsageError(f"{path} is not a directory", hint="--local takes NAME=DIRECTORY.")
        found[name] = Path(path)
    return found


def _write(name: str, data: bytes) -> None:
    temporary = Path(f"{name}.{os.getpid()}.{time.monotonic_ns()}.new")
    try:
        temporary.write_bytes(data)
        temporary.replace(name)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        raise UsageError(f"cannot write {name}: {exc.strerror}") from exc
