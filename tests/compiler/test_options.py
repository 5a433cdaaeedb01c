"""The frontend options: what they mean, and how bad values are refused."""

from __future__ import annotations

import pytest

from dockc.compiler.options import CompileOptions, parse_ip
from dockc.errors import CompileError
from dockc.llb import caps
from dockc.oci.platform import Platform


def read(**attrs: str) -> CompileOptions:
    return CompileOptions.from_attrs({key.replace("_", "-"): value for key, value in attrs.items()})


def test_plain_values() -> None:
    options = CompileOptions.from_attrs(
        {
            "target": "app",
            "build-arg:A": "1",
            "build-arg:B": "",
            "label:x": "y",
            "context:base": "docker-image://alpine",
            "platform": "arm64",
            "no-cache": "a,b",
            "add-hosts": "one=10.0.0.1,TWO=::ffff:1.2.3.4",
            "ulimit": "nofile=1024:4096,core=-1",
            "memory": "1024",
            "cpusetcpus": "0-1, 3",
        },
        session="s",
        devices=(("vendor/x=1", True),),
    )
    assert options.target == "app"
    assert dict(options.build_args) == {"A": "1", "B": ""}
    assert dict(options.labels) == {"x": "y"}
    assert dict(options.contexts) == {"base": "docker-image://alpine"}
    assert options.target_platform == Platform("linux", "arm64")
    assert options.no_cache == ("a", "b")
    assert options.ignores_cache("A") and not options.ignores_cache("c")
    assert options.hosts == (("one", "10.0.0.1"), ("two", "1.2.3.4"))
    assert options.ulimits == (("nofile", 1024, 4096), ("core", -1, -1))
    assert options.resources is not None
    assert (options.resources.memory, options.resources.cpuset_cpus) == (1024, "0-1, 3")
    assert options.devices == (("vendor/x=1", True),)


def test_defaults() -> None:
    options = read()
    assert options.target_platform is None
    assert options.no_cache is None and not options.ignores_cache("x")
    assert options.resources is None
    assert options.filename == "Dockerfile"
    assert options.caps == caps.ALL


def test_no_cache_without_names_is_for_all_stages() -> None:
    options = read(no_cache="")
    assert options.ignores_cache("anything")


def test_several_platforms_are_multi_platform() -> None:
    options = read(platform="linux/amd64,linux/arm/v7")
    assert options.multi_platform
    assert options.target_platform is None
    assert options.target_platforms == (Platform("linux", "amd64"), Platform("linux", "arm", "v7"))
    one = options.for_platform(options.target_platforms[1])
    assert one.target_platform == Platform("linux", "arm", "v7")


def test_build_args_that_are_options() -> None:
    options = CompileOptions.from_attrs(
        {
            "hostname": "a",
            "build-arg:BUILDKIT_SANDBOX_HOSTNAME": "b",
            "build-arg:BUILDKIT_CACHE_MOUNT_NS": "ns",
            "build-arg:BUILDKIT_MULTI_PLATFORM": "1",
            "build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR": "true",
            "build-arg:BUILDKIT_DOCKERFILE_CHECK": "skip=all",
        }
    )
    assert (options.hostname, options.cache_namespace) == ("b", "ns")
    assert options.multi_platform and options.keep_git_dir
    assert options.lint is not None and options.lint.skip_all


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({"platform": "toaster/"}, 'failed to parse target platform toaster/: "" is an invalid component of'),
        ({"image-resolve-mode": "never"}, "invalid image-resolve-mode: never"),
        ({"add-hosts": "one"}, "failed to parse additional hosts: invalid key-value pair one"),
        ({"add-hosts": "one=x"}, "failed to parse additional hosts: failed to parse IP x"),
        ({"add-hosts": 'a="1'}, "failed to parse additional hosts: parse error on line 1, column 3: bare"),
        ({"shm-size": "64m"}, 'failed to parse shm size: strconv.ParseInt: parsing "64m": invalid syntax'),
        ({"ulimit": "nofile"}, "failed to parse ulimit: invalid ulimit argument: nofile"),
        ({"ulimit": "files=1"}, "failed to parse ulimit: invalid ulimit type: files"),
        (
            {"ulimit": "nofile=10:5"},
            "failed to parse ulimit: ulimit soft limit must be less than or equal to hard limit: 10 > 5",
        ),
        (
            {"memory": "0"},
            "failed to parse resource limits: invalid memory value: 0: must be > 0",
        ),
        (
            {"memswap": "-2"},
            "failed to parse resource limits: invalid memswap value: -2: must be -1 (unlimited) or > 0",
        ),
        (
            {"cpushares": "-1"},
            'failed to parse resource limits: invalid cpushares value: -1: strconv.ParseUint: parsing "-1": invalid',
        ),
        ({"cpusetcpus": "3-1"}, 'invalid cpusetcpus value: 3-1: invalid cpuset range "3-1"'),
        ({"cpusetmems": "9000"}, 'cpuset element "9000" exceeds maximum 8192'),
        ({"force-network-mode": "bridge"}, "invalid netmode bridge"),
        ({"multi-platform": "perhaps"}, "invalid boolean value for multi-platform: perhaps"),
        (
            {"multi-platform": "0", "platform": "amd64,arm64"},
            "conflicting config: returning multiple target platforms is not allowed",
        ),
        ({"cache-imports": "x"}, "failed to unmarshal cache-imports (\"x\"): invalid character 'x' looking for beginning of value"),
        (
            {"cache-imports": '{"Type":"local"}'},
            "json: cannot unmarshal object into Go value of type []*moby_buildkit_v1.CacheOptionsEntry",
        ),
        (
            {"cache-imports": '[{"Attrs":{"a":1}}]'},
            "json: cannot unmarshal number into Go struct field CacheOptionsEntry.Attrs of type string",
        ),
        ({"cache-imports": "[null]"}, "an entry is null"),
        ({"attest:color": ""}, 'unknown attestation type "color"'),
        ({"attest:sbom": "generator="}, "failed to parse sbom scanner : invalid reference format"),
        ({"build-arg:BUILDKIT_DOCKERFILE_CHECK": "what"}, 'invalid check option "what"'),
        ({"override-copy-image": "x"}, 'support for "override-copy-image" was removed'),
        ({"context": "https://h/r.git?a=1&a=2"}, 'query "a" has multiple values'),
    ],
)
def test_bad_values_are_refused(attrs: dict[str, str], message: str) -> None:
    with pytest.raises(CompileError) as caught:
        CompileOptions.from_attrs(attrs)
    assert message in caught.value.message


@pytest.mark.parametrize("text", ["", "null", "[]", '[{"type":"registry","Attrs":{"ref":"b","x":null},"more":1}]'])
def test_caches_to_import_are_a_list(text: str) -> None:
    read(cache_imports=text)


def test_case_is_that_of_single_characters() -> None:
    options = CompileOptions.from_attrs({"add-hosts": "\u0130=1.1.1.1", "no-cache": "\u017ftage"})
    assert options.hosts == (("i", "1.1.1.1"),)
    assert options.ignores_cache("STAGE") and not options.ignores_cache("other")


def test_an_engine_without_file_operations_is_too_old() -> None:
    with pytest.raises(CompileError, match=r"needs BuildKit 0\.5 or later"):
        CompileOptions.from_attrs({}, caps=caps.ALL - {caps.FILE_BASE})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1.2.3.4", "1.2.3.4"), ("FE80::0:1", "fe80::1"), ("1.2.3", None), ("::1%lo", None), ("01.2.3.4", None)],
)
def test_ip_addresses(text: str, expected: str | None) -> None:
    assert parse_ip(text) == expected
