"""Whether a result is what was asked for: its platforms.

Source: BuildKit, exporter/verifier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockc.engine.export import platforms_of
from dockc.golang.text import quote
from dockc.oci import platform as platforms
from dockc.oci.keys import PLATFORMS
from dockc.oci.platform import InvalidPlatform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockc.engine.bridge import Result
    from dockc.oci.platform import Platform


def unexpected_platforms(attrs: Mapping[str, str], result: Result) -> list[str]:
    """What is odd about the platforms of a result, in BuildKit's words.

    Raises:
        DockcError: the frontend's metadata cannot be read.
    """
    many = set(result.refs) != {""}
    if PLATFORMS not in result.metadata and not any(ref is not None for ref in result.refs.values()):
        return []  # a result without files: nobody said of what it is
    own = platforms.normalize(platforms.default())
    found = {platforms.format_all(one): one for _, one in platforms_of(result.metadata)} or {
        platforms.format_all(own): own
    }
    wanted: dict[str, str] = {}
    odd: list[str] = []
    for text in attrs["platform"].split(",") if "platform" in attrs else [platforms.format_all(own)]:
        try:
            name = platforms.format_all(platforms.normalize(platforms.parse(text)))
        except InvalidPlatform as error:
            odd.append(f"Invalid platform result requested {quote(text)}: {error.message}")
            continue
        if name in wanted:
            odd.append(f"Duplicate platform result requested {quote(text)}")
        wanted[name] = text
    if odd:
        return odd
    if len(wanted) == len(found) == 1:
        (asked, text), (given, platform) = next(iter(wanted.items())), next(iter(found.items()))
        if asked in {given, _without_version(platform)}:
            return []
        return [f"Requested platform {quote(text)} does not match result platform {quote(given)}"]
    if not many and len(wanted) > 1:
        return ["Multiple platforms requested but result is not multi-platform"]
    if set(wanted) != set(found):
        return [
            f"Requested platforms {','.join(sorted(wanted))} do not match result platforms {','.join(sorted(found))}"
        ]
    return []


def _without_version(platform: Platform) -> str:
    """Who asks for a platform seldom names the version of a system that the image has."""
    from dockc.base.record import replace

    return platforms.format_all(replace(platform, os_version=""))
