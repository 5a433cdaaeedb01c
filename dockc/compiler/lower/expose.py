"""EXPOSE: ports and port ranges, `8080/tcp`, `7000-7010/udp`; addresses and host ports are read and left out."""

from __future__ import annotations

from dockc.compiler.options import parse_ip
from dockc.errors import CompileError
from dockc.golang.numbers import NumberError, parse_int
from dockc.golang.text import quote
from dockc.grammar.word import WordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.compiler.checks import Linter
    from dockc.compiler.lower.context import Lowering
    from dockc.compiler.lower.stages import StageState, Step
    from dockc.compiler.lower.words import Expander
    from dockc.compiler.syntax.ast import Expose

_PROTOCOLS = frozenset(("tcp", "udp", "sctp"))
_HIGHEST = 65535
_MOST = 1 << 20


def lower_expose(state: Lowering, stage: StageState, step: Step, expose: Expose, expand: Expander) -> None:
    """`EXPOSE`: ports on which a container listens."""
    words: list[str] = []
    for port in expose.ports:
        try:
            words += state.lex.words(port.text, stage.env)
        except WordError as error:
            raise CompileError(error.message) from None
    ports: list[str] = []
    for word in words:
        ports += _ports(word, step, expand.linter)
        if len(ports) > _MOST:
            raise CompileError(f"EXPOSE names more than {_MOST} ports")
    stage.image.exposed_ports.update(dict.fromkeys(ports))
    stage.image.commit(f"EXPOSE [{' '.join(ports)}]", state.created, layer=False)


def _ports(text: str, step: Step, linter: Linter) -> list[str]:
    """`[ip:][host:]container[/protocol]` as a list of `port/protocol`.

    Raises:
        CompileError: not a port.
    """
    address, host, container = _split(text)
    container, _, protocol = container.partition("/")
    if not container:
        raise CompileError(f"invalid port: {quote(text)}: no port specified")
    if protocol and protocol.lower() not in _PROTOCOLS:
        raise CompileError(f"invalid port: {quote(text)}: invalid proto: {protocol}")
    protocol = protocol or "tcp"
    if protocol != protocol.lower():
        message = f"Defined protocol '{text}' in EXPOSE instruction should be lowercase"
        linter.report("ExposeProtoCasing", message, step.lines)
    if address or host:
        message = f"EXPOSE instruction should not define an IP address or host-port mapping, found '{text}'"
        linter.report("ExposeInvalidFormat", message, step.lines)
    _check_address(address)
    ports = _range(container)
    if ports is None:
        raise CompileError(f"invalid containerPort: {container}")
    if host:
        host_ports = _range(host)
        if host_ports is None:
            raise CompileError(f"invalid hostPort: {host}")
        if len(ports) != len(host_ports) and len(ports) > 1:
            raise CompileError(f"invalid ranges specified for container and host Ports: {container} and {host}")
    return [f"{port}/{protocol.lower()}" for port in ports]


def _split(text: str) -> tuple[str, str, str]:
    """Address, host port and container port; an address may hold colons itself."""
    parts = text.split(":")
    if len(parts) == 1:
        return "", "", text
    return ":".join(parts[:-2]), parts[-2], parts[-1]


def _check_address(address: str) -> None:
    if address.startswith("["):
        inner, bracket, rest = address[1:].partition("]")
        problem = ""
        if not bracket:
            problem = "missing ']' in address"
        elif rest:
            problem = "too many colons in address" if rest.startswith(":") else "missing port in address"
        elif "[" in inner:
            problem = "unexpected '[' in address"
        if problem:
            raise CompileError(f"invalid IP address {address}: address {address}:: {problem}")
        address = inner
        if not address:
            return
    if address and parse_ip(address) is None:
        raise CompileError(f"invalid IP address: {address}")


def _range(text: str) -> range | None:
    """The ports of `8000` or `8000-8010`, None for anything else."""
    first, dash, last = text.partition("-")
    start = _number(first)
    end = start if not dash or first == last else _number(last)
    if start is None or end is None or end < start:
        return None
    return range(start, end + 1)


def _number(text: str) -> int | None:
    try:
        port = parse_int(text)
    except NumberError:
        return None
    return port if 0 <= port <= _HIGHEST else None
