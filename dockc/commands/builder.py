"""`dockc builder`: builders elsewhere, kept by name."""

from __future__ import annotations

from dockc.base.options import Options, argument, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dockc.base.output import Output
    from dockc.client import builders


class CreateOptions(Options):
    """Keep a builder under a name."""

    name: str = argument(required=True, help="The builder's name.")
    addr: str = argument(required=True, metavar="URL", help="Its address, as for `dockc build --addr`.")
    tlsdir: str = option(
        "--tlsdir",
        metavar="DIR",
        help="Certificates: ca.pem, cert.pem and key.pem, or ca.crt, tls.crt and tls.key.",
        completes="directory",
    )
    tlscacert: str = option("--tlscacert", metavar="FILE", help="Certificate authority.", completes="file")
    tlscert: str = option("--tlscert", metavar="FILE", help="Client certificate.", completes="file")
    tlskey: str = option("--tlskey", metavar="FILE", help="Client key.", completes="file")
    tlsservername: str = option("--tlsservername", metavar="NAME", help="Name that the builder's certificate is for.")
    use: bool = option("--use", help="Choose it.")
    examples = ("dockc builder create far tcp://builder.example:1234 --tlsdir ~/certs --use",)


def run_create(options: CreateOptions, out: Output) -> int:
    """`dockc builder create`.

    Raises:
        UsageError: the name, the address or the certificates are none.
    """
    from pathlib import Path

    from dockc.client import address, builders
    from dockc.errors import UsageError

    def absolute(path: str) -> str:
        return str(Path(path).absolute()) if path else ""

    if options.tlsdir and (options.tlscacert or options.tlscert or options.tlskey):
        raise UsageError("--tlsdir stands for --tlscacert, --tlscert and --tlskey", hint="Give one or the others.")
    if options.tlsdir:
        tls = address.Tls.of_directory(absolute(options.tlsdir), options.tlsservername)
    else:
        tls = address.Tls(
            absolute(options.tlscacert), absolute(options.tlscert), absolute(options.tlskey), options.tlsservername
        )
    builders.create(options.name, builders.Node(options.addr, tls), use=options.use)
    out.write(options.name + "\n")
    return 0


class RemoveOptions(Options):
    """Forget builders; their daemons are left alone."""

    names: tuple[str, ...] = argument(metavar="NAME", help="Builders to forget.")


def run_remove(options: RemoveOptions, out: Output) -> int:
    """`dockc builder rm`.

    Raises:
        UsageError: there is none of a name.
    """
    from dockc.client import builders
    from dockc.errors import UsageError

    if not options.names:
        raise UsageError("which builders shall be forgotten?", hint="dockc builder rm NAME...")
    for name in options.names:
        builders.remove(name)
        out.write(f"{name} removed\n")
    return 0


class UseOptions(Options):
    """Choose the builder of `dockc build` where it names none and no store."""

    name: str = argument(required=True, help="The builder's name; `default` is this machine.")


def run_use(options: UseOptions, out: Output) -> int:
    """`dockc builder use`.

    Raises:
        UsageError: there is none of that name.
    """
    from dockc.client import builders

    builders.use("" if options.name == "default" else options.name)
    return 0


class ListOptions(Options):
    """List all builders, and whether they answer."""

    format: str = option(
        "--format",
        metavar="FORM",
        default="table",
        help="table, or json: one object a line. Default: table.",
        completes="table|json",
    )


def run_list(options: ListOptions, out: Output) -> int:
    """`dockc builder ls`.

    Raises:
        UsageError: an unknown form.
    """
    import json

    from dockc.client import builders
    from dockc.commands.remote import until_told
    from dockc.errors import UsageError

    if options.format not in {"table", "json"}:
        raise UsageError(f"unknown format {options.format}", hint="table or json")
    known = builders.load()
    rows = until_told(_look(sorted(known.nodes.items()), known.current))
    if options.format == "json":
        out.write("".join(json.dumps(row) + "\n" for row in rows))
        return 0
    from dockc.console.tables import table

    shown = [
        [
            row["name"] + (" *" if row["current"] else ""),
            row["addr"],
            row["status"],
            row["version"],
            ", ".join(row["platforms"]),
        ]
        for row in rows
    ]
    out.write(table(["NAME", "ADDRESS", "STATUS", "VERSION", "PLATFORMS"], shown))
    return 0


class InspectOptions(Options):
    """Show one builder, with its version and platforms."""

    name: str = argument(help="The builder's name; the chosen one where none is given.")


def run_inspect(options: InspectOptions, out: Output) -> int:
    """`dockc builder inspect`.

    Raises:
        DockcError: it does not answer.
    """
    from dockc.client import builders
    from dockc.commands.remote import until_told
    from dockc.errors import DockcError, UsageError

    known = builders.load()
    name = options.name or known.current
    if not name:
        raise UsageError("no builder is chosen", hint="Name one: dockc builder inspect NAME.")
    (row,) = until_told(_look([(name, builders.find(name))], known.current))
    for key, value in row.items():
        shown = (
            ", ".join(value)
            if isinstance(value, list)
            else "yes"
            if value is True
            else "no"
            if value is False
            else value
        )
        out.write(f"{key.capitalize() + ':':<12} {shown}\n")
    if row["status"] != "running":
        raise DockcError(f"the builder {name} does not answer: {row['status']}")
    return 0


async def _look(nodes: list[tuple[str, builders.Node]], current: str) -> list[dict[str, Any]]:
    import asyncio

    return list(await asyncio.gather(*(_look_at(name, node, name == current) for name, node in nodes)))


async def _look_at(name: str, node: builders.Node, current: bool) -> dict[str, Any]:
    import asyncio

    from dockc.client import address
    from dockc.client.control import Remote
    from dockc.commands.remote import platform_text
    from dockc.errors import DockcError

    row: dict[str, Any] = {
        "name": name,
        "addr": node.addr,
        "current": current,
        "status": "running",
        "version": "",
        "platforms": [],
    }
    try:
        async with asyncio.timeout(10):
            link = await address.connect(address.parse(node.addr), node.tls if node.tls else None)
            try:
                remote = Remote(link)
                version, workers = await asyncio.gather(remote.info(), remote.workers())
            finally:
                await link.close()
    except TimeoutError:
        row["status"] = "no answer"
    except DockcError as exc:
        row["status"] = exc.message
    else:
        row["version"] = version.version
        row["platforms"] = [platform_text(one) for worker in workers for one in worker.platforms]
    return row
