"""`dockc builder`: builders elsewhere, kept by name."""

from __future__ import annotations

import os

from dockc.base.options import Options, argument, option
from dockc.commands import shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dockc.base.output import Output
    from dockc.client import builders


class CreateOptions(Options):
    """Keep a builder under a name. A builder may have several nodes: each platform is built by a node that has it,
    equal ones by what is built and their weights, and the next best node takes over from one that is gone or full.
    """

    name: str = argument(help="The builder's name.")
    addr: str = argument(metavar="URL", help="Its address, as for `dockc build --addr`.")
    named: str = option("--name", metavar="NAME", help="The builder's name, as buildx takes it.", hidden=True)
    node: str = option("--node", metavar="NAME", help="Name of this node; with --append, of one to replace.")
    append: bool = option("--append", help="Add a node to the builder of that name.")
    leave: bool = option("--leave", help="Take the node that --node names from the builder.")
    platform: tuple[str, ...] = option(
        "--platform",
        metavar="PLATFORM",
        help="What this node shall build, whatever else it could; may be repeated.",
        completes="linux/amd64|linux/arm64",
    )
    weight: int = option(
        "--weight",
        metavar="N",
        default=1,
        low=0,
        high=1000,
        help="This node's share among equals; 0: only when no other can. Default: 1.",
    )
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
    driver: str = option(
        "--driver",
        metavar="NAME",
        help="As buildx calls it: remote, docker-container or kubernetes; it must be that of the address.",
        completes="remote|docker-container|kubernetes",
    )
    driver_opt: tuple[str, ...] = option(
        "--driver-opt",
        metavar="KEY=VALUE",
        help="Options of buildx's drivers: cacert, cert, key and servername work; others are refused with what is here instead.",
    )
    bootstrap: bool = option("--bootstrap", help="Fail unless the builder answers.")
    buildkitd_flags: str = option("--buildkitd-flags", metavar="FLAGS", hidden=True)
    buildkitd_config: str = option("--buildkitd-config", metavar="FILE", hidden=True)
    use: bool = option("--use", help="Choose it.")
    examples = (
        "dockc builder create far tcp://builder.example:1234 --tlsdir ~/certs --use",
        "dockc builder create far tcp://arm.example:1234 --append --node arm --platform linux/arm64",
    )


def run_create(options: CreateOptions, out: Output) -> int:
    """`dockc builder create`.

    Raises:
        UsageError: the name, the address or the certificates are none, or an option of buildx's drivers that cannot be here.
        DockcError: it is to answer, and does not.
    """
    from dockc.client import address, builders
    from dockc.errors import DockcError, UsageError

    def absolute(path: str) -> str:
        return os.path.abspath(path) if path else ""  # noqa: PTH100

    name, addr = (options.named, options.name) if options.named else (options.name, options.addr)
    if not name or (options.named and options.addr):
        raise UsageError("what shall the builder be called?", hint="dockc builder create NAME URL")
    for flag, value in (
        ("--buildkitd-flags", options.buildkitd_flags),
        ("--buildkitd-config", options.buildkitd_config),
    ):
        if value:
            raise UsageError(
                f"{flag} is not supported: dockc starts no builders",
                hint="Give it to the daemon: dockc daemon --config FILE.",
            )
    if options.leave:
        if not options.node or addr or options.append:
            raise UsageError("--leave needs --node and nothing else", hint="dockc builder create NAME --leave --node N")
        builders.leave(name, options.node)
        out.write(name + "\n")
        return 0
    if not addr:
        raise UsageError("where is the builder?", hint="dockc builder create NAME URL")
    if options.tlsdir and (options.tlscacert or options.tlscert or options.tlskey):
        raise UsageError("--tlsdir stands for --tlscacert, --tlscert and --tlskey", hint="Give one or the others.")
    if options.tlsdir:
        tls = address.Tls.of_directory(absolute(options.tlsdir), options.tlsservername)
    else:
        tls = address.Tls(
            absolute(options.tlscacert), absolute(options.tlscert), absolute(options.tlskey), options.tlsservername
        )
    if options.driver or options.driver_opt:
        from dockc.client import drivers

        driver = drivers.driver_of(addr, options.driver)
        tls = drivers.certificates(driver, drivers.options(options.driver_opt), tls)
    wanted = tuple(one.strip() for text in options.platform for one in text.split(",") if one.strip())
    node = builders.Node(addr, tls, name=options.node, platforms=wanted, weight=options.weight)
    if options.append:
        builders.append(name, node, use=options.use)
    else:
        builders.create(name, node, use=options.use)
    out.write(name + "\n")
    if options.bootstrap:
        from dockc.commands.remote import until_told

        (row,) = until_told(_look([(name, builders.find(name))], ""))
        if row["status"] != "running":
            raise DockcError(f"the builder {name} does not answer: {row['status']}")
    return 0


class RemoveOptions(Options):
    """Forget builders; their daemons are left alone."""

    names: tuple[str, ...] = argument(metavar="NAME", help="Builders to forget.")
    force: bool = option("--force", "-f", help="As without: nobody is asked.", hidden=True)
    keep_daemon: bool = option("--keep-daemon", help="As without: it is not dockc's.", hidden=True)
    keep_state: bool = option("--keep-state", help="As without.", hidden=True)
    examples = ("dockc builder rm far",)


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
    default: bool = option(
        "--default", help="As without: there is one choice for all directories and contexts.", hidden=True
    )
    everywhere: bool = option("--global", help="As without.", hidden=True)
    examples = ("dockc builder use far", "dockc builder use default")


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
    json: bool = shared.AS_JSON
    examples = ("dockc builder ls",)


def run_list(options: ListOptions, out: Output) -> int:
    """`dockc builder ls`.

    Raises:
        UsageError: an unknown form.
    """
    import json

    from dockc.client import builders
    from dockc.commands.remote import until_told
    from dockc.errors import UsageError

    form = shared.form(options.format, options.json)
    if form not in {"table", "json"}:
        raise UsageError(f"unknown format {form}", hint="table or json")
    known = builders.load()
    rows = until_told(_look(sorted(known.nodes.items()), known.current))
    if form == "json":
        out.write("".join(json.dumps(row) + "\n" for row in rows))
        return 0
    from dockc.console.tables import table

    shown: list[list[str]] = []
    for row in rows:
        name = row["name"] + (" *" if row["current"] else "")
        if len(row["nodes"]) > 1:
            shown.append([name, f"{len(row['nodes'])} nodes", row["status"], "", ""])
        for node in row["nodes"]:
            title = f"  {node['name'] or '-'}" if len(row["nodes"]) > 1 else name
            shown.append([title, node["addr"], node["status"], node["version"], _platforms(node)])
    out.write(table(["NAME", "ADDRESS", "STATUS", "VERSION", "PLATFORMS"], shown))
    return 0


def _platforms(node: dict[str, Any]) -> str:
    """What a node can run; what it shall build has a star, as buildx marks it."""
    given = node["given"]
    return ", ".join([*(f"{one}*" for one in given), *(one for one in node["platforms"] if one not in given)])


class InspectOptions(Options):
    """Show one builder, with its version and platforms."""

    name: str = argument(help="The builder's name; the chosen one where none is given.")
    bootstrap: bool = option(
        "--bootstrap", help="As without: the builder is asked, and it is an error if it does not answer."
    )
    json: bool = option("--json", help="Print JSON, as `dockc builder ls` has it.")
    examples = ("dockc builder inspect far",)


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
    if options.json:
        import json

        out.write(json.dumps(row) + "\n")
    else:
        _tell(row, out)
    if row["status"] != "running":
        raise DockcError(f"the builder {name} does not answer: {row['status']}")
    return 0


def _tell(row: dict[str, Any], out: Output) -> None:
    from dockc.console.clean import clean_text

    def say(key: str, value: str, indent: str = "") -> None:
        out.write(f"{indent}{key + ':':<{12 - len(indent)}} {clean_text(value)}\n")  # as whoever answers has it

    say("Name", row["name"])
    say("Current", "yes" if row["current"] else "no")
    say("Status", row["status"])
    for node in row["nodes"]:
        indent = ""
        if len(row["nodes"]) > 1:
            out.write(f"\nNode {node['name'] or node['addr']}\n")
            indent = "  "
            say("Status", node["status"], indent)
        say("Addr", node["addr"], indent)
        say("Version", node["version"], indent)
        say("Platforms", _platforms(node), indent)
        if node["weight"] != 1:
            say("Weight", str(node["weight"]), indent)


async def _look(known: list[tuple[str, tuple[builders.Node, ...]]], current: str) -> list[dict[str, Any]]:
    """Rows of builders with what their nodes say of themselves. A builder runs as long as one of its nodes does."""
    import asyncio

    return list(await asyncio.gather(*(_look_at(name, members, name == current) for name, members in known)))


async def _look_at(name: str, members: tuple[builders.Node, ...], current: bool) -> dict[str, Any]:
    import asyncio

    from dockc.client.nodes import ask
    from dockc.oci import platform as platforms

    said = await asyncio.gather(*(ask(node) for node in members))
    rows = [
        {
            "name": node.name,
            "addr": node.addr,
            "status": one.problem or ("full" if one.full else "running"),
            "version": one.version,
            "platforms": [platforms.format_all(found) for found in one.platforms],
            "given": [platforms.format_all(platforms.normalize(platforms.parse(text))) for text in node.platforms],
            "weight": node.weight,
        }
        for node, one in zip(members, said, strict=True)
    ]
    alive = [one for one in said if not one.problem]
    status = "running" if alive else said[0].problem if len(said) == 1 else "no node answers"
    return {
        "name": name,
        "addr": members[0].addr,
        "current": current,
        "status": status,
        "version": next((one.version for one in alive), ""),
        "platforms": list(dict.fromkeys(platforms.format_all(found) for one in alive for found in one.platforms)),
        "nodes": rows,
    }
