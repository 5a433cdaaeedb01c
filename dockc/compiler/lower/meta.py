"""CMD, ENTRYPOINT, LABEL, VOLUME, STOPSIGNAL, HEALTHCHECK, MAINTAINER, ONBUILD: the image config alone."""

from __future__ import annotations

from dockc.compiler.image.parts import Healthcheck as ImageHealthcheck
from dockc.compiler.lower.env import report_legacy_pair
from dockc.errors import CompileError, Fault
from dockc.golang.numbers import NumberError, parse_int
from dockc.golang.strings import upper
from dockc.golang.text import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from dockc.compiler.checks import Linter
    from dockc.compiler.image.config import ImageConfig
    from dockc.compiler.lower.context import Lowering
    from dockc.compiler.lower.stages import StageState, Step
    from dockc.compiler.lower.words import Expander
    from dockc.compiler.syntax.ast import (
        Cmd,
        Entrypoint,
        Healthcheck,
        Label,
        Maintainer,
        Onbuild,
        ShellDependent,
        Stopsignal,
        Volume,
    )

    Lines = tuple[int, int]

_REALTIME = [f"RTMIN+{n}" for n in range(1, 16)] + [f"RTMAX-{n}" for n in range(1, 15)]
_SIGNALS = frozenset(
    [
        "ABRT",
        "ALRM",
        "BUS",
        "CHLD",
        "CLD",
        "CONT",
        "FPE",
        "HUP",
        "ILL",
        "INT",
        "IO",
        "IOT",
        "KILL",
        "PIPE",
        "POLL",
        "PROF",
        "PWR",
        "QUIT",
        "SEGV",
        "STKFLT",
        "STOP",
        "SYS",
        "TERM",
        "TRAP",
        "TSTP",
        "TTIN",
        "TTOU",
        "URG",
        "USR1",
        "USR2",
        "VTALRM",
        "WINCH",
        "XCPU",
        "XFSZ",
        "RTMIN",
        "RTMAX",
    ]
) | frozenset(_REALTIME)


def default_shell(system: str) -> list[str]:
    """What runs a shell form where no SHELL says otherwise."""
    return ["cmd", "/S", "/C"] if system == "windows" else ["/bin/sh", "-c"]


def with_shell(image: ImageConfig, args: Sequence[str]) -> list[str]:
    """A shell form as an argument vector."""
    return [*(image.shell or default_shell(image.os)), " ".join(args)]


def _command_line(stage: StageState, step: Step, instruction: ShellDependent, linter: Linter) -> list[str]:
    args = list(instruction.cmdline or ())
    if not instruction.prepend_shell:
        return args
    if not stage.image.shell:
        message = (
            f"JSON arguments recommended for {instruction.name} to prevent unintended behavior related to OS signals"
        )
        linter.report("JSONArgsRecommended", message, step.lines)
    return with_shell(stage.image, args)


def _quoted(args: Sequence[str]) -> str:
    return "[" + " ".join(quote(arg) for arg in args) + "]"


def _report_repeated(earlier: Lines | None, name: str, linter: Linter) -> None:
    """Note the earlier one of two instructions of which only the last counts."""
    if earlier is not None:
        message = (
            f"Multiple {name} instructions should not be used in the same stage because only the last one will be used"
        )
        linter.report("MultipleInstructionsDisallowed", message, earlier)


def lower_cmd(state: Lowering, stage: StageState, step: Step, cmd: Cmd, expand: Expander) -> None:
    """`CMD`: what a container runs by default."""
    _report_repeated(stage.cmd_lines, cmd.name, expand.linter)
    stage.cmd_lines = step.lines
    args = _command_line(stage, step, cmd, expand.linter)
    stage.image.cmd = args
    stage.image.args_escaped = True
    stage.image.commit(f"CMD {_quoted(args)}", state.created, layer=False)


def lower_entrypoint(state: Lowering, stage: StageState, step: Step, entrypoint: Entrypoint, expand: Expander) -> None:
    """`ENTRYPOINT`: what a container always runs; the base's CMD makes no sense with it."""
    _report_repeated(stage.entrypoint_lines, entrypoint.name, expand.linter)
    stage.entrypoint_lines = step.lines
    args = _command_line(stage, step, entrypoint, expand.linter)
    stage.image.entrypoint = args
    if stage.cmd_lines is None:
        stage.image.cmd = []
    stage.image.commit(f"ENTRYPOINT {_quoted(args)}", state.created, layer=False)


def lower_label(state: Lowering, stage: StageState, step: Step, label: Label, expand: Expander) -> None:
    """`LABEL`: words about the image."""
    pairs = [(expand(pair.key), expand(pair.value), pair.no_delim) for pair in label.pairs]
    shown = ["LABEL"]
    for key, value, legacy in pairs:
        if legacy:
            report_legacy_pair(label.name, step, expand.linter)
        stage.image.labels[key] = value
        shown.append(f"{key}={value}")
    stage.image.commit(" ".join(shown), state.created, layer=False)


def lower_volume(state: Lowering, stage: StageState, step: Step, volume: Volume, expand: Expander) -> None:
    """`VOLUME`: directories that hold data of a container."""
    names = expand.each(volume.volumes)
    for name, word in zip(names, volume.volumes, strict=True):
        if not name:
            raise CompileError("VOLUME specified can not be an empty string", fault=Fault("blank-name/volume", word))
        stage.image.volumes[name] = None
    stage.image.commit(f"VOLUME [{' '.join(names)}]", state.created, layer=False)


def lower_stopsignal(state: Lowering, stage: StageState, step: Step, stopsignal: Stopsignal, expand: Expander) -> None:
    """`STOPSIGNAL`: how a container is asked to end."""
    signal = expand(stopsignal.signal)
    if not _is_signal(signal):
        raise CompileError(f"invalid signal: {signal}", fault=Fault("bad-signal", stopsignal.signal))
    stage.image.stop_signal = signal
    stage.image.commit(f"STOPSIGNAL {signal}", state.created, layer=False)


def _is_signal(text: str) -> bool:
    try:
        return parse_int(text) != 0
    except NumberError:
        return upper(text).removeprefix("SIG") in _SIGNALS


def lower_healthcheck(state: Lowering, stage: StageState, step: Step, check: Healthcheck, expand: Expander) -> None:
    """`HEALTHCHECK`: how to find out whether a container is well."""
    _report_repeated(stage.healthcheck_lines, check.name, expand.linter)
    stage.healthcheck_lines = step.lines
    stage.image.healthcheck = ImageHealthcheck(
        check.test,
        interval=check.interval,
        timeout=check.timeout,
        start_period=check.start_period,
        start_interval=check.start_interval,
        retries=check.retries,
    )
    shown = (
        f"{{Test:[{' '.join(check.test)}] Interval:{duration(check.interval)} Timeout:{duration(check.timeout)} "
        f"StartPeriod:{duration(check.start_period)} StartInterval:{duration(check.start_interval)} "
        f"Retries:{check.retries}}}"
    )
    stage.image.commit(f"HEALTHCHECK {shown}", state.created, layer=False)


def duration(nanoseconds: int) -> str:
    """A duration as people write it: `1m30s`, `1.5s`, `200ms`, `0s`."""
    if not nanoseconds:
        return "0s"
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest < 1_000_000_000:
        for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
            if rest < size * 1000:
                return f"{sign}{_fraction(rest, size)}{unit}"
    seconds, nanos = divmod(rest, 1_000_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    out = _fraction(seconds * 1_000_000_000 + nanos, 1_000_000_000) + "s"
    if hours or minutes:
        out = f"{minutes}m{out}"
    if hours:
        out = f"{hours}h{out}"
    return sign + out


def _fraction(value: int, size: int) -> str:
    """A number of `size` ones, with as many decimals as it needs."""
    whole, part = divmod(value, size)
    digits = str(part).rjust(len(str(size)) - 1, "0").rstrip("0") if part else ""
    return f"{whole}.{digits}" if digits else str(whole)


def lower_maintainer(state: Lowering, stage: StageState, step: Step, maintainer: Maintainer, expand: Expander) -> None:
    """`MAINTAINER`: the image's author."""
    stage.image.author = maintainer.maintainer.text
    stage.image.commit(f"MAINTAINER {maintainer.maintainer.text}", state.created, layer=False)


def lower_onbuild(state: Lowering, stage: StageState, step: Step, onbuild: Onbuild, expand: Expander) -> None:
    """`ONBUILD`: an instruction for builds on top of this image."""
    stage.image.on_build.append(onbuild.expression)
