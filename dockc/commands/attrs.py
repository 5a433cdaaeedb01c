"""The options of what is built, which many commands take, as the frontend's options; short commands load no others."""

from __future__ import annotations

import os

from dockc.engine.request import EPOCH
from dockc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def frontend_attrs(
    *,
    target: str = "",
    build_args: Iterable[str] = (),
    platforms: Iterable[str] = (),
    labels: Iterable[str] = (),
    opts: Iterable[str] = (),
    no_cache: bool = False,
    no_cache_filter: Iterable[str] = (),
    local_images: bool = False,
    environment: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The command line's short forms as BuildKit's frontend options; they win over `--opt` of the same key.

    Build arguments without a value have the environment's, and none where it has none; `SOURCE_DATE_EPOCH` comes from
    there unasked, as with BuildKit's own clients.

    Raises:
        UsageError: an option without `=` that needs one.
    """
    environment = os.environ if environment is None else environment
    attrs: dict[str, str] = {}
    if EPOCH in environment:
        attrs[f"build-arg:{EPOCH}"] = environment[EPOCH]
    for text in opts:
        key, equals, value = text.partition("=")
        if not key:
            raise UsageError(f"invalid value {text} for --opt: expected KEY=VALUE")
        name = key.removeprefix("build-arg:")
        if equals or name == key:
            attrs[key] = value
        elif name in environment:
            attrs[key] = environment[name]
    for text in build_args:
        key, equals, value = text.partition("=")
        if not key:
            raise UsageError(f"invalid value {text} for --build-arg: expected NAME[=VALUE]")
        if equals:
            attrs[f"build-arg:{key}"] = value
        elif key in environment:
            attrs[f"build-arg:{key}"] = environment[key]
    attrs |= _labels(labels)
    if target:
        attrs["target"] = target
    default = () if "platform" in attrs else (environment.get("DOCKER_DEFAULT_PLATFORM", ""),)
    if wanted := [p.strip() for text in tuple(platforms) or default for p in text.split(",") if p.strip()]:
        attrs["platform"] = ",".join(_platform(p) for p in wanted)
    if local_images:
        attrs["image-resolve-mode"] = "local"
    if no_cache:
        attrs["no-cache"] = ""
    elif stages := ",".join(no_cache_filter):
        attrs["no-cache"] = stages
    return attrs


def _labels(texts: Iterable[str]) -> dict[str, str]:
    attrs: dict[str, str] = {}
    for text in texts:
        key, _, value = text.partition("=")
        if not key:
            raise UsageError(f"invalid value {text} for --label: expected NAME=VALUE")
        attrs[f"label:{key}"] = value
    return attrs


def _platform(text: str) -> str:
    if text != "local":
        return text
    from dockc.oci import platform as platforms

    return platforms.format_all(platforms.normalize(platforms.default()))


def named_contexts(texts: Iterable[str]) -> dict[str, str]:
    """`NAME=VALUE` options to a map.

    Raises:
        UsageError: one without `=`.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UsageError(f"invalid context value: {text}, expected key=value")
        found[_context_name(name)] = value
    return found


def _context_name(name: str) -> str:
    """The name as FROM and COPY look for it: `docker.io/library/x:latest` is `x`."""
    if name.isascii() and name.isalnum() and name.islower():
        return name
    from dockc.oci.reference import InvalidReference, parse_normalized

    try:
        return parse_normalized(name).familiar().removesuffix(":latest")
    except InvalidReference as error:
        raise UsageError(f"invalid context name {name}: {error.message}") from error
