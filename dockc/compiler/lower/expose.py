"""EXPOSE: ports and port ranges, `8080/tcp`, `7000-7010/udp`; addresses and host ports are read and left out."""

from __future__ import annotations

from dockc.compiler.lower.scope import word_fault
from dockc.compiler.options import parse_ip
from dockc.errors import CompileError, Fault
from dockc.golang.numbers import NumberError, parse_int
from dockc.golang.text import quote
from dockc.grammar.word import WordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.compiler.checks import Linter
    from dockc.compiler.lower.context import Lowering
    from dockc.compiler.lower.stages import StageState, Step
    from dockc.compiler.lower.words import Expander
    from dockc.compiler.syntax.ast import Expose, Word

_PROTOCOLS = frozenset(("tcp", "udp", "sctp"))
_HIGHEST = 65535
_MOST = 1 << 20


def lower_expose(state: Lowering, stage: StageState, step: Step, expose: Expose, expand: Expander) -> None:
    """`EXPOSE`: ports on which a container listens."""
    words: list[tuple[str, Word]] = []
    for port in expose.ports:
        try:
            words += [(text, port) for text in state.lex.words(port.text, stage.env)]
        except WordError as error:
            raise CompileError(error.message, fault=word_fault(error, state.lex, port)) from None
    ports: list[str] = []
    for text, word in words:
        ports += _ports(text, word, step, expand.linter)
        if len(ports) > _MOST:
            raise CompileError(f"EXPOSE names more than {_MOST} ports", fault=Fault("bad-port/many", expose.words))
    stage.image.exposed_ports.update(dict.fromkeys(ports))
    stage.image.commit(f"EXPOSE [{' '.join(ports)}]", state.created, layer=False)


def _part(kind: str, word: Word, text: str) -> Fault:
    """A fault in a part of a word; all of it where the part came out of a variable."""
    at = word.text.find(text) if text and text != word.text else -1
    return Fault(kind, word, (at, at + len(text)) if at >= 0 else None)


def _ports(text: str, word: Word, step: Step, linter: Linter) -> list[str]:
    """`[ip:][host:]container[/protocol]` as a list of `port/protocol`.

    Raises:
        CompileError: not a port.
    """
    address, host, container = _split(text)
    container, _, protocol = container.partition("/")
    if not container:
        raise CompileError(f"invalid port: {quote(text)}: no port specified", fault=_part("bad-port", word, text))
    if protocol and protocol.lower() not in _PROTOCOLS:
        message = f"invalid port: {quote(text)}: invalid proto: {protocol}"
        raise CompileError(message, fault=_part("bad-port", word, text))
    protocol = protocol or "tcp"
    if protocol != protocol.lower():
        message = f"Defined protocol '{text}' in EXPOSE instruction should be lowercase"
        linter.report("ExposeProtoCasing", message, step.lines)
    if address or host:
        message = f"EXPOSE instruction should not define an IP address or host-port mapping, found '{text}'"
        linter.report("ExposeInvalidFormat", message, step.lines)
    _check_address(address, word)
    ports = _range(container)
    if ports is None:
        raise CompileError(f"invalid containerPort: {container}", fault=_part("bad-port", word, container))
    if host:
        host_ports = _range(host)
        if host_ports is None:
            raise CompileError(f"invalid hostPort: {host}", fault=_part("bad-port", word, host))
        if len(ports) != len(host_ports) and len(ports) > 1:
            message = f"invalid ranges specified for container and host Ports: {container} and {host}"
            raise CompileError(message, fault=_part("bad-port/ranges", word, container))
    return [f"{port}/{protocol.lower()}" for port in ports]


def _split(text: str) -> tuple[str, str, str]:
    """Address, host port and container port; an address may hold colons itself."""
    parts = text.split(":")
    if len(parts) == 1:
        return "", "", text
    return ":".join(parts[:-2]), parts[-2], parts[-1]


def _check_address(address: str, word: Word) -> None:
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
            message = f"invalid IP address {address}: address {address}:: {problem}"
            raise CompileError(message, fault=_part("bad-port/address", word, address))
        address = inner
        if not address:
            return
    if address and parse_ip(address) is None:
        raise CompileError(f"invalid IP address: {address}", fault=_part("bad-port/address", word, address))


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
