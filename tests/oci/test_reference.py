from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.oci import reference
from dockc.oci.reference import InvalidReference, Reference

SHA = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("debian", "docker.io/library/debian", "debian"),
        ("debian:12", "docker.io/library/debian:12", "debian:12"),
        ("me/app", "docker.io/me/app", "me/app"),
        ("docker.io/debian", "docker.io/library/debian", "debian"),
        ("index.docker.io/debian", "docker.io/library/debian", "debian"),
        ("library/debian", "docker.io/library/debian", "debian"),
        ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/app", "localhost/app", "localhost/app"),
        ("localhost:5000/app:x", "localhost:5000/app:x", "localhost:5000/app:x"),
        ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"),
        ("Example/app", "Example/app", "Example/app"),
        ("quay.io/a/b__c.d--e:V1", "quay.io/a/b__c.d--e:V1", "quay.io/a/b__c.d--e:V1"),
        (f"debian@{SHA}", f"docker.io/library/debian@{SHA}", f"debian@{SHA}"),
        (f"debian:12@{SHA}", f"docker.io/library/debian:12@{SHA}", f"debian:12@{SHA}"),
    ],
)
def test_normal_and_familiar_form(text: str, full: str, familiar: str) -> None:
    parsed = reference.parse_normalized(text)
    assert str(parsed) == full
    assert parsed.familiar() == familiar
    assert reference.parse_normalized(familiar) == parsed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Foo", "invalid reference format: repository name (library/Foo) must be lowercase"),
        ("me/Foo:x", "invalid reference format: repository name (me/Foo) must be lowercase"),
        ("", "invalid reference format"),
        (":x", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("a_-b", "invalid reference format"),
        ("a:" + "t" * 129, "invalid reference format"),
        ("a\n", "invalid reference format"),
        ("a@sha256:" + "a" * 40, "invalid checksum digest length"),
        ("a@sha256:" + "A" * 64, "invalid checksum digest format"),
        ("a@md5:" + "a" * 32, "unsupported digest algorithm"),
        ("a@MD5:" + "a" * 32, "invalid reference format: repository name (library/a@MD5) must be lowercase"),
        ("a" * 256, "repository name must not be more than 255 characters"),
        (
            "a" * 64,
            f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings",
        ),
    ],
)
def test_messages(text: str, message: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        reference.parse_normalized(text)
    assert caught.value.message == message


def test_raw_parse_adds_nothing() -> None:
    assert reference.parse("debian") == Reference("", "debian")
    assert reference.parse("a/b:t") == Reference("a", "b", "t")
    for text, message in [
        ("", "repository name must have at least one component"),
        ("a/Foo", "repository name must be lowercase"),
    ]:
        with pytest.raises(InvalidReference) as caught:
            reference.parse(text)
        assert caught.value.message == message


def test_default_tag() -> None:
    assert str(reference.parse_docker("debian")) == "docker.io/library/debian:latest"
    assert str(reference.parse_docker(f"debian:12@{SHA}")) == f"docker.io/library/debian@{SHA}"
    assert reference.parse_normalized(f"a@{SHA}").tag_name_only().tag == ""
    with pytest.raises(InvalidReference, match="invalid tag format"):
        reference.parse_normalized("a").with_tag("-x")
    with pytest.raises(InvalidReference, match="invalid digest format"):
        reference.parse_normalized("a").with_digest("x")


@given(st.text(max_size=80))
def test_parsing_never_crashes_and_normal_form_is_stable(text: str) -> None:
    try:
        parsed = reference.parse_normalized(text)
    except InvalidReference:
        return
    assert reference.parse_normalized(str(parsed)) == parsed
    assert reference.parse_normalized(parsed.familiar()) == parsed


def test_long_hostile_names_take_linear_time() -> None:
    for text in ("a-" * 50_000, "a." * 50_000 + "!", "a" * 100_000 + ":", "a/" * 50_000):
        with pytest.raises(InvalidReference):
            reference.parse_normalized(text)
