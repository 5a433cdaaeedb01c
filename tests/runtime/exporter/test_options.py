from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.errors import UsageError
from dockc.runtime.archive.compress import Compression
from dockc.runtime.exporter.options import Output, parse_output


@pytest.mark.parametrize(
    ("text", "kind", "dest"),
    [
        ("out", "local", "out"),
        ("./a/b", "local", "./a/b"),
        ("-", "tar", "-"),
        ("type=local,dest=out", "local", "out"),
        ("type=tar", "tar", ""),
        ('type=oci,"dest=a,b.tar"', "oci", "a,b.tar"),
        ("type=docker", "docker", ""),
        ("TYPE=tar,Dest=x", "tar", "x"),
        ("type=cacheonly", "cacheonly", ""),
    ],
)
def test_type_and_destination(text: str, kind: str, dest: str) -> None:
    output = parse_output(text)
    assert (output.type, output.dest) == (kind, dest)


def test_registry_is_an_image_that_is_pushed() -> None:
    output = parse_output("type=registry,name=a/b:c")
    assert output.type == "image" and output.flag("push") and output.names == ("a/b:c",)
    assert not parse_output("type=registry,push=false").flag("push")
    assert parse_output('type=image,"name=a,b",push=').names == ("a", "b")


def test_image_options() -> None:
    image = parse_output(
        "type=oci,dest=x,compression=zstd,compression-level=7,force-compression=true,oci-mediatypes=1,"
        "source-date-epoch=42,rewrite-timestamp=true,annotation.k=v,annotation-index.i=w,"
        "annotation-manifest[linux/arm64].a=b=c"
    ).image
    assert image.compression == Compression("zstd", 7, True)
    assert image.epoch == 42 and image.rewrite_timestamp and image.oci_types
    assert image.annotations_for().manifest == {"k": "v"}
    assert image.annotations_for().index == {"i": "w"}
    assert image.annotations_for("linux/arm64").manifest == {"k": "v", "a": "b=c"}


def test_directories() -> None:
    assert parse_output("type=oci,dest=d,tar=false").is_directory
    assert not parse_output("type=oci,dest=d").is_directory


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dest=x,a=b", "type is required for output"),
        ("type=oci,foo", "invalid value foo"),
        ("type=nope", "unknown output type 'nope'"),
        ("type=local", "dest is required for local exporter"),
        ("type=local,dest=-", "dest cannot be stdout for local exporter"),
        ("type=oci,tar=false", "dest is required for oci exporter"),
        ("type=local,dest=x,mode=move", 'invalid local exporter mode "move"'),
        ("type=oci,compression=lzma", "unsupported compression type lzma"),
        ("type=oci,compression-level=x", 'non-integer value x specified for compression-level: strconv.ParseInt: parsing "x": invalid syntax'),
        ("type=oci,compression-level=10", "compression-level for gzip must be between 0 and 9"),
        ("type=oci,force-compression=x", 'non-bool value x specified for force-compression: strconv.ParseBool: parsing "x": invalid syntax'),
        (
            "type=image,push=maybe",
            'non-bool value specified for push: strconv.ParseBool: parsing "maybe": invalid syntax',
        ),
        (
            "type=image,name=UP",
            "failed to parse UP: invalid reference format: repository name (library/UP) must be lowercase",
        ),
        (
            "type=image,oci-mediatypes=false,oci-artifact=true",
            'exporter option "oci-artifact=true" conflicts with "oci-mediatypes=false"',
        ),
        ("type=oci,annotation-foo.x=y", "unrecognized annotation type foo"),
        ("type=oci,annotation-index.x=y,oci-mediatypes=false", 'cannot export annotations with "oci-mediatypes=false"'),
        ("type=oci,bogus=1", "type=oci output has no option 'bogus'"),
        ("type=image,dest=x", "dest is not supported for type=image"),
        ('type=oci,"x', "invalid output 'type=oci,\"x': unexpected end of data"),
    ],
)
def test_messages(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_output(text)
    assert caught.value.message == message


@given(st.text(max_size=60))
def test_any_text_gives_an_output_or_a_usage_error(text: str) -> None:
    for prefix in ("", "type=oci,", "type=image,annotation"):
        try:
            assert isinstance(parse_output(prefix + text), Output)
        except UsageError:
            pass
