"""FROM: what each stage starts with, and the images that are read without a FROM."""

from __future__ import annotations

from dockc.compiler.image.config import ImageConfig
from dockc.compiler.ir.ops import OpMeta
from dockc.compiler.lower import contexts
from dockc.compiler.lower.context import command_meta
from dockc.compiler.lower.names import step_name
from dockc.compiler.lower.scope import located
from dockc.compiler.lower.stages import SCRATCH
from dockc.compiler.questions import ImageRequest
from dockc.compiler.suggest import nearest
from dockc.errors import CompileError, DockcError, Fault
from dockc.golang.text import quote
from dockc.llb import sources
from dockc.oci import platform as platforms
from dockc.oci import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.compiler.lower.context import Lowering
    from dockc.compiler.lower.stages import NamedContext, StageState
    from dockc.compiler.questions import Asking, ImageAnswer
    from dockc.oci.platform import Platform
    from dockc.oci.reference import Reference

_COMMON_IMAGES = ("alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora")


def resolve(state: Lowering, wanted: set[StageState]) -> Asking[None]:
    """Find the base of every stage that has none yet; only those in `wanted` are looked up.

    A stage that nothing needs still has its base's name checked.

    Raises:
        CompileError: a base that is no reference, or cannot be looked up.
        Unanswered: images that are not known yet, all at once.
    """
    open_stages = [stage for stage in state.table.stages if not (stage.base or stage.dispatched or stage.resolved)]
    asked = True
    while asked:  # an answer may say that something else stands for an image, which is then to be asked about
        for stage in open_stages:
            if stage in wanted:
                _want(state, stage)
        asked = yield from state.barrier()
    looked_up = []
    for stage in open_stages:
        stage.resolved = stage in wanted
        if stage.base_name == SCRATCH and stage.named_context is None:
            _start_empty(state, stage)
            stage.dispatched |= not stage.registered
        else:
            looked_up.append(stage)
    # The reference looks bases up all at once and reports whichever error comes first, as a rule that of the last
    # one; what the checks have to say about the other bases is not lost.
    failure: CompileError | None = None
    for stage in looked_up[-1:] + looked_up[:-1]:
        try:
            _resolve(state, stage, needed=stage in wanted)
        except CompileError as error:
            failure = failure or located(error, stage.lines)
        stage.dispatched |= not stage.registered
    if failure is not None:
        raise failure


def _start_empty(state: Lowering, stage: StageState) -> None:
    stage.image = ImageConfig.empty(state.target)
    stage.platform = state.target


def _want(state: Lowering, stage: StageState) -> None:
    """Ask for what `_resolve` will need; what is wrong with the name shows there."""
    if stage.named_context is not None:
        contexts.wants(state, stage.named_context)
        return
    if stage.base_name == SCRATCH:
        return
    try:
        ref = references.parse_normalized(stage.base_name).tag_name_only()
        context = contexts.find(state, str(ref), stage.platform or state.target)
    except DockcError:
        return
    if context is not None:
        contexts.wants(state, context)
    else:
        state.want(_request(state, str(ref), stage.platform or state.target))


def _request(state: Lowering, ref: str, platform: Platform) -> ImageRequest:
    prefix = f"[{platforms.format_all(platform)} internal]" if state.options.multi_platform else "[internal]"
    return ImageRequest(ref, platform, state.options.resolve_mode, log_name=f"{prefix} load metadata for {ref}")


def _resolve(state: Lowering, stage: StageState, *, needed: bool) -> None:
    written = stage.base_name
    try:
        ref = references.parse_normalized(written)
    except DockcError as error:
        kind = "bad-image-name/case" if isinstance(error, references.NotLowerCase) else "bad-image-name"
        message = f"failed to parse stage name {quote(written)}: {error.message}"
        raise CompileError(message, fault=_fault(kind, stage)) from None
    platform = stage.platform or state.target
    stage.base_name = str(ref.tag_name_only())
    if needed:
        if stage.named_context is not None:
            _replace(state, stage, stage.named_context)
            return
        context = contexts.find(state, stage.base_name, platform)
        if context is not None:
            _start_from_context(state, stage, context, platform)
            return
        platform = _look_up(state, stage, written, ref, platform)
    if needed and _is_empty(stage.image):
        # An image without layers is nothing to fetch.
        stage.value = stage.exec_platform = None
    else:
        meta = OpMeta(
            step_name(state, stage, f"FROM {stage.base_name}", platform, {}),
            description=command_meta(stage.from_code),
            locations=state.locations(stage.lines),
        )
        spec = sources.image(stage.base_name, resolve_mode=state.options.resolve_mode)
        stage.value = state.builder.source(spec, platform=platform, meta=meta)
        stage.exec_platform = platforms.normalize(platform)
        if needed:
            _check_platform(state, stage, written, platform)
    stage.platform = platform


def _replace(state: Lowering, stage: StageState, context: NamedContext) -> None:
    """A named context in the place of a whole stage: nothing of the stage is run."""
    loaded = contexts.load(state, context, stage)
    stage.dispatched = True
    stage.value = loaded.value
    stage.env, stage.directory = loaded.env, loaded.directory
    stage.exec_platform = loaded.exec_platform
    if loaded.image is not None:
        stage.image = loaded.image
        stage.image.created = ""
        if loaded.image.architecture and loaded.image.os:
            stage.platform = loaded.image.platform


def _start_from_context(state: Lowering, stage: StageState, context: NamedContext, platform: Platform) -> None:
    """A named context in the place of a base image."""
    loaded = contexts.load(state, context, stage)
    image = loaded.image if loaded.image is not None else ImageConfig.empty(platform)
    stage.base_image = image.clone()
    image.created = ""
    stage.image = image
    stage.value = loaded.value
    stage.env, stage.directory = loaded.env, loaded.directory
    stage.exec_platform = platforms.normalize(platform)
    stage.platform = platform


def _look_up(state: Lowering, stage: StageState, written: str, ref: Reference, platform: Platform) -> Platform:
    """Take digest and config of the base image; returns the platform it is used for."""
    answer = state.image(_request(state, stage.base_name, platform))
    if answer.problem:
        raise _lookup_error(state, stage, written, answer)
    if str(ref) != answer.ref:
        try:
            ref = references.parse_normalized(answer.ref)
        except DockcError as error:
            message = f"failed to parse ref {quote(answer.ref)}: {error.message}"
            raise CompileError(message, fault=_fault("bad-image", stage)) from None
    try:
        image = state.image_config(answer.config)
    except CompileError as error:
        message = f"failed to parse image config: {error.message}"
        raise CompileError(message, fault=_fault("bad-image", stage)) from None
    stage.base_image = image.clone()
    image.created = ""
    if stage.platform is None and state.implicit_target:
        platform = _detect_platform(image, platform, state.build_platforms)
    if answer.digest:
        try:
            ref = ref.with_digest(answer.digest)
        except DockcError as error:
            raise CompileError(error.message, fault=_fault("bad-image", stage)) from None
    stage.base_name = str(ref)
    stage.image = image
    return platform


def _fault(kind: str, stage: StageState) -> Fault:
    """What is wrong with the words that name the stage's base."""
    return Fault(kind, stage.words, stage.part)


def _lookup_error(state: Lowering, stage: StageState, written: str, answer: ImageAnswer) -> CompileError:
    names = state.table.names()
    for image in _COMMON_IMAGES:
        for name in (image, f"{image}:latest"):
            names += (name, f"docker.io/library{name}")
    suggestion = nearest(written, names)
    message = f"{written}: {answer.problem}"
    if suggestion:
        message += f" (did you mean {suggestion}?)"
    fault = _fault("image-not-available", stage)
    return CompileError(message, fault=fault, suggestion=suggestion, hint=answer.hint)


def _detect_platform(image: ImageConfig, wanted: Platform, supported: tuple[Platform, ...]) -> Platform:
    """With no platform asked for, an image of another platform that the builder runs is welcome."""
    if (wanted.os, wanted.architecture) != (image.os, image.architecture):
        for platform in supported:
            if (platform.os, platform.architecture) == (image.os, image.architecture):
                return platform
    return wanted


def _is_empty(image: ImageConfig) -> bool:
    """Whether an image has no layers. Old images list none and tell by their history."""
    return not image.diff_ids and all(entry.empty_layer for entry in image.history)


def _check_platform(state: Lowering, stage: StageState, written: str, expected: Platform) -> None:
    actual = stage.image.platform
    if (expected.os, expected.architecture) == (actual.os, actual.architecture):
        return
    shown = [quote(platforms.format_all(platforms.normalize(p))) for p in (actual, expected)]
    state.linter.report(
        "InvalidBaseImagePlatform",
        f"Base image {written} was pulled with platform {shown[0]}, expected {shown[1]} for current build",
        stage.lines,
    )
