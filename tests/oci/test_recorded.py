"""Answers recorded from the Go libraries `distribution/reference` and `containerd/platforms`."""

from __future__ import annotations

from typing import Any

import pytest

from dockc.errors import DockcError
from dockc.oci import platform as platforms
from dockc.oci import reference as references
from dockc.oci.platform import Platform
from tests.golden.collect import recorded

RECORDED = recorded("oci/recorded", "names")


def platform_of(raw: dict[str, Any]) -> Platform:
    features = tuple(raw.get("os.features", ()))
    return Platform(raw["os"], raw["architecture"], raw["variant"], raw.get("os.version", ""), features)


def answer(kind: str, question: Any) -> list[str]:
    try:
        match kind:
            case "raw":
                return [str(references.parse(question))]
            case "ref":
                ref = references.parse_normalized(question)
                tagged = ref.tag_name_only()
                return [str(ref), ref.familiar(), str(tagged), ref.familiar_name(), ref.domain, ref.path]
            case "plat":
                found = platforms.parse(question)
                normal = platforms.format_all(platforms.normalize(found))
                return [platforms.format_short(found), platforms.format_all(found), normal, found.variant]
    except DockcError as error:
        return ["err", error.message]
    wanted, *others = map(platform_of, question)
    matchers = (platforms.only(wanted), platforms.only_strict(wanted))
    out = []
    for one in others:
        out.append("".join(str(int(matcher.match(one))) for matcher in matchers))
        out += ["".join(str(int(matcher.less(one, two))) for matcher in matchers) for two in others]
    return out


@pytest.mark.parametrize("kind", ["raw", "ref", "plat", "match"])
def test_recorded_answers(kind: str) -> None:
    cases = [(question, expected) for found, question, expected in RECORDED if found == kind]
    assert len(cases) >= 40
    assert [(q, expected) for q, expected in cases if answer(kind, q) != expected] == []
