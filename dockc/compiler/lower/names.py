"""Progress names, exactly as BuildKit prints them: `[build 2/7] RUN make`."""

from __future__ import annotations

from dockc.golang.strings import upper
from dockc.grammar.word import WordError
from dockc.oci import platform as platforms
from dockc.oci.platform import InvalidPlatform, Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockc.compiler.lower.context import Lowering
    from dockc.compiler.lower.stages import StageState
    from dockc.grammar.word import Lex


def step_name(state: Lowering, stage: StageState, text: str, platform: Platform | None, env: Mapping[str, str]) -> str:
    """The text behind stage, number and platform; counts the step."""
    if not stage.step_total:
        return text
    stage.step_index += 1
    return _decorated(state, stage, text, platform, env)


def same_step_name(
    state: Lowering, stage: StageState, text: str, platform: Platform | None, env: Mapping[str, str]
) -> str:
    """Another name for the step that was counted last."""
    if not stage.step_total:
        return text
    return _decorated(state, stage, text, platform, env)


def _decorated(state: Lowering, stage: StageState, text: str, platform: Platform | None, env: Mapping[str, str]) -> str:
    out = "["
    if state.options.multi_platform and platform is not None:
        out += f"{platforms.format_all(platform)}{_cross_suffix(platform, env)} "
    if stage.shown_name:
        out += f"{stage.shown_name} "
    width = len(str(stage.step_total))
    out += f"{stage.step_index:{width}d}/{stage.step_total}] "
    if stage.on_build:
        out += "ONBUILD "
    return out + text


def command_text(code: str, lex: Lex, env: Mapping[str, str]) -> str:
    """The instruction with its variables expanded where that works, and its keyword in upper case."""
    try:
        code = lex.word(code, env)
    except WordError:
        pass
    keyword, space, rest = code.partition(" ")
    return upper(keyword) + space + rest


def _cross_suffix(platform: Platform, env: Mapping[str, str]) -> str:
    """`->arm64` when the variables say that the stage makes something for another platform."""
    target = _target_of(env)
    if target is None:
        return ""
    target = platforms.normalize(
        Platform(
            target.os or platform.os,
            target.architecture or platform.architecture,
            target.variant,
            target.os_version,
            target.os_features,
        )
    )
    if target.os != platform.os:
        return f"->{platforms.format_all(target)}"
    if target.architecture != platform.architecture:
        return f"->{target.architecture}" + (f"/{target.variant}" if target.variant else "")
    return ""


def _target_of(env: Mapping[str, str]) -> Platform | None:
    """What the TARGET variables say, the first that says everything wins."""
    system = architecture = variant = ""
    found = False
    for key, value in env.items():
        if key == "TARGETPLATFORM":
            try:
                return platforms.parse(value)
            except InvalidPlatform:
                continue
        elif key == "TARGETOS":
            system, found = value, True
        elif key == "TARGETARCH":
            architecture, found = value, True
        elif key == "TARGETVARIANT":
            variant, found = value, True
    return Platform(system, architecture, variant) if found else None
