"""Flags and buildkitd.toml: what works, and what is refused by name."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import hypothesis
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from dockc.daemon import config
from dockc.daemon.control import output, worker_matches
from dockc.daemon.keys import KEYS, Each
from dockc.daemon.log import JsonLines
from dockc.daemon.platforms import Runnable, emulated
from dockc.engine import settings
from dockc.errors import UsageError
from dockc.oci.platform import format_all
from dockc.rpc.pb import common_pb2
from dockc.rpc.status import RpcError
from dockc.runtime.refs.policy import Disk, Policy, Rule
from dockc.runtime.registry.hosts import HostsConfig


@pytest.fixture(autouse=True)
def _registries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_added", {})


def test_what_buildkits_test_suite_passes(tmp_path: Path) -> None:
    file = tmp_path / "buildkitd.toml"
    file.write_text(
        'insecure-entitlements = ["network.host"]\n[otel]\nsocketPath = "/x"\n[cdi]\nspecDirs = ["/y"]\n[dns]\nnameservers = ["1.1.1.1"]\n'
        '[worker.oci]\nnetworkMode = "host"\nmax-parallelism = 3\n[worker.containerd]\nnetworkMode = "host"\n'
        '[registry."docker.io"]\nmirrors = ["localhost:5000", "mirror.example"]\n[registry."mirror.example"]\nhttp = true\n'
    )
    words = "--oci-worker=true --containerd-worker=false --oci-worker-gc=false --oci-worker-labels=org.mobyproject.buildkit.worker.sandbox=true"
    found = config.read([*words.split(), f"--config={file}", "--root", str(tmp_path), "--addr", f"unix://{tmp_path}/s", "--debug"])
    assert found.root == str(tmp_path)
    assert found.listeners == (config.Listener(f"unix://{tmp_path}/s", "unix", path=f"{tmp_path}/s"),)
    assert found.labels == {"org.mobyproject.buildkit.worker.sandbox": "true"}
    assert found.parallelism == 3
    assert found.entitlements == {"network.host", "device"}
    assert settings.registries({})["docker.io"] == {"mirrors": ["http://localhost:5000", "http://mirror.example"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--containerd-worker=true"], "containerd worker is not supported"),
        (["--oci-worker=false"], "leaves no worker"),
        (["--nonsense"], "there is no option --nonsense"),
        (["nonsense"], "unrecognized arguments: nonsense"),
        (["--oci-worker=perhaps"], "--oci-worker: 'perhaps' is neither true nor false"),
        (["-oci-worker", "false"], "leaves no worker"),
        (["--oci-worker-gc=perhaps"], "--oci-worker-gc: 'perhaps' is neither true nor false"),
        (["--oci-worker-labels=one"], "--oci-worker-labels: invalid value one"),
        (["--root"], "--root needs a value"),
        (["--addr", "http://x"], "invalid address http://x"),
        (["--addr", "tcp://host"], "invalid address tcp://host"),
        (["--tlscert", "x"], "certificate and its key"),
        (["--oci-max-parallelism", "many"], "invalid max-parallelism many"),
        (["--config", "/nonexistent"], "cannot read /nonexistent"),
        (["--config", "/"], "cannot read /: Is a directory"),
        (["--config", "/dev/zero"], "cannot read /dev/zero: not a regular file"),
        (["--log-level", "loud"], "unsupported log level loud"),
        (["--log-format", "xml"], "unsupported log type xml"),
        (["--allow-insecure-entitlement", "root"], "unknown entitlement root"),
        (["--oci-worker-apparmor-profile=x"], "--oci-worker-apparmor-profile is not supported"),
        (["--oci-worker-selinux"], "--oci-worker-selinux is not supported"),
        (["--oci-worker-binary=/opt/other/runc"], "the runtime /opt/other/runc is not supported"),
        (["--oci-worker-proxy-snapshotter-path=/x"], "--oci-worker-proxy-snapshotter-path is not supported"),
        (["--proxy-network"], "--proxy-network is not supported"),
    ],
)
def test_flags_that_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config.read(words)


def test_every_flag_of_buildkits_daemon_is_known_and_counts_or_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own help, v0.33; a stand-in for each kind of value."""
    place = f"--root={tmp_path}"
    for word in ["rootless", "oci-worker-rootless", "oci-worker-no-process-sandbox", "save-cache-debug", "cdi-disabled=false", "cdi-spec-dir=/x", "oci-cni-pool-size=3", "containerd-worker-addr=/x", "containerd-worker-labels=a=b", "containerd-worker-net=host", "containerd-cni-config-path=/x", "containerd-cni-binary-dir=/x", "containerd-cni-pool-size=2", "containerd-worker-snapshotter=native", "containerd-worker-apparmor-profile=x", "containerd-worker-selinux", "containerd-max-parallelism=3", "containerd-worker-rootless", "containerd-worker-gc", "containerd-worker-gc-keepstorage=1,2,3"]:
        (told,) = config.read([f"--{word}", place]).told
        assert f"--{word.partition('=')[0]}" in told
        assert "has no effect" in told
    for word in ["debug=false", "addr=unix:///x", "log-format=json", "log-level=warn", "group=0", "debugaddr=x:1", "otel-socket-path=/x", "cdi-disabled", "containerd-worker=false", "containerd-worker=auto", "oci-worker=auto", "oci-worker=1", "oci-worker-labels=a=b,c=d", "oci-worker-snapshotter=native", "oci-worker-platform=linux/386", "oci-worker-net=host", "oci-cni-config-path=/x", "oci-cni-binary-dir=/x", "oci-worker-binary=runc", "oci-worker-selinux=false", "oci-max-parallelism=3", "oci-worker-gc=false", "oci-worker-gc-keepstorage=1,2,3", "proxy-network=false", "rootless=false", "allow-insecure-entitlement=network.host"]:
        name, equals, value = word.partition("=")
        assert config.read([f"-{word}", place]).told == ()
        if equals and value not in {"false"}:
            assert config.read([f"--{name}", value, place]) == config.read([f"--{word}", place])
    assert config.read(["--oci-worker-labels=a=b,c=d", place]).labels == {"a": "b,c=d"}
    monkeypatch.setenv("BUILDKITD_DEBUGADDR", "there:7")
    assert config.read([place]).debug == "there:7"
    assert config.read([place, "--debugaddr=here:7"]).debug == "here:7"


def test_entitlements_that_are_typed_are_all_that_there_are(tmp_path: Path) -> None:
    file = tmp_path / "buildkitd.toml"
    file.write_text('insecure-entitlements = ["network.host"]\n')
    words = [f"--config={file}", f"--root={tmp_path}"]
    assert config.read(words).entitlements == {"network.host", "device"}
    assert config.read([*words, "--allow-insecure-entitlement=security.insecure"]).entitlements == {"security.insecure", "device"}
    assert config.read([*words, "--cdi-disabled"]).entitlements == {"network.host"}
    file.write_text("[cdi]\ndisabled = true\n")
    assert config.read(words).entitlements == frozenset()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense = 1", "unknown key nonsense"),
        ("[worker.oci]\nnonsense = 1", "unknown key worker.oci.nonsense"),
        ("[worker.oci]\nenabled = false", "without the OCI worker"),
        ("[worker.containerd]\nenabled = true", "worker.containerd.enabled = true is not supported"),
        ('worker = "x"', "worker is not a table"),
        # What keeps something from builds is not passed over.
        ('[frontend."gateway.v0"]\nenabled = false', 'frontend."gateway.v0".enabled = false is not supported'),
        ('[frontend."gateway.v0"]\nallowedRepositories = ["x"]', 'frontend."gateway.v0".allowedRepositories is not supported'),
        ('[frontend."dockerfile.v0"]\nenabled = false', 'frontend."dockerfile.v0".enabled = false is not supported'),
        ('[frontend."dockerfile.v0"]\nallowedRepositories = ["x"]', "unknown key frontend"),
        ('[worker.oci]\napparmor-profile = "x"', "worker.oci.apparmor-profile is not supported"),
        ("[worker.oci]\nselinux = true", "worker.oci.selinux is not supported"),
        ('[worker.oci]\ndefaultCgroupParent = "/x"', "worker.oci.defaultCgroupParent is not supported"),
        ('[worker.oci]\nbinary = "youki"', "the runtime youki is not supported"),
        ("[worker.oci]\nstargzSnapshotter = {a = 1}", "worker.oci.stargzSnapshotter is not supported"),
        ("[worker.other]", "unknown key worker.other"),
        ("[grpc]\nnonsense = 1", "unknown key grpc.nonsense"),
        ("[grpc.tls]\nnonsense = 1", "unknown key grpc.tls.nonsense"),
        ('[grpc]\nuid = "root"', "grpc.uid is not a number"),
        ('[grpc]\nsecurityDescriptor = "x"', "grpc.securityDescriptor is for Windows"),
        ("proxyNetwork = true", "proxyNetwork is not supported"),
        ("[cache.gha.verify]\nrequired = true", "cache.gha.verify.required = true is not supported"),
        ('[cache.gha.sign]\ncommand = ["cosign"]', "cache.gha.sign.command is not supported"),
        ("[ghacache.verify]\nrequired = true", "ghacache.verify.required = true is not supported"),
        ('[ghacache.sign]\ncmd = "cosign sign-blob"', "ghacache.sign.cmd is not supported"),
        ('[registry."x"]\nnonsense = 1', 'unknown key registry."x".nonsense'),
        ("[worker.oci]\ngc = 7", "worker.oci.gc is neither true nor false"),
        ("[[worker.oci.gcpolicy]]\nkeepDuration = '7d'", "invalid duration: 7d"),
        ('[registry."x"]\n[[registry."x".keypair]]\nkey = "k"', "a keypair is a table of cert and key"),
        ('[grpc]\naddress = "tcp://x:1"', "grpc.address is not a list of texts"),
        ('insecure-entitlements = ["root"]', "unknown entitlement root"),
        ('[log]\nlevel = "loud"', "unsupported log level loud"),
        ('[log]\nformat = "xml"', "unsupported log type xml"),
        ("[otel]\nnonsense = 1", "unknown key otel.nonsense"),
        ("[cdi]\nnonsense = 1", "unknown key cdi.nonsense"),
        ("[system]\nnonsense = 1", "unknown key system.nonsense"),
        ('[system]\nplatformsCacheMaxAge = "soon"', "system.platformsCacheMaxAge: "),
        ("[system]\nmaxRegistryConcurrency = 0", "must be greater than zero"),
        ('[worker.oci]\nuserRemapUnsupported = "x"', "worker.oci.userRemapUnsupported is not supported"),
        ("a = " + "[" * 5000, "buildkitd.toml: "),
        ("#" * (2 << 20), "is larger than 1048576 bytes"),
        ("a = [", "buildkitd.toml"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "buildkitd.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        config.read(["--config", str(tmp_path / "buildkitd.toml")])


def paths(keys: Mapping[str, object], before: str = "") -> Iterator[str]:
    """Every key that there is, with a made-up name where names are free."""
    for name, key in keys.items():
        path = f"{before}{json.dumps(name) if '.' in name else name}"
        yield path
        while isinstance(key, Each):
            path, key = f"{path}.x", key.keys
            yield path
        if isinstance(key, Mapping):
            yield from paths(key, f"{path}.")


LEAVES = st.one_of(
    st.booleans(), st.integers(-(1 << 62), 1 << 62), st.floats(allow_nan=False, allow_infinity=False), st.text(st.characters(codec="ascii")),
    st.sampled_from(["10GB", "1h", "50%", "all", "host", "auto", "unix:///x", "x:5000", "num-cpu"]), st.just({}),
)  # fmt: skip
VALUES = st.one_of(LEAVES, st.lists(LEAVES, max_size=2), st.lists(st.fixed_dictionaries({}, optional={"all": LEAVES, "filters": LEAVES, "keepDuration": LEAVES}), max_size=2))


def toml(value: object) -> str:
    """A value in TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value).replace("\x7f", "\\u007f")


@hypothesis.settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*paths(KEYS), "nonsense"]), VALUES, min_size=1, max_size=3))
@example({"registry.x.keypair": False})
@example({"registry.x.keypair": ["a"]})
@example({"registry.x.keypair": [{}]})
@example({"registry.x.tlsconfigdir": ["\0"]})
def test_any_file_is_a_configuration_or_a_usage_error(tmp_path: Path, values: dict[str, object]) -> None:
    file = tmp_path / "buildkitd.toml"
    file.write_text("".join(f"{key} = {toml(value)}\n" for key, value in values.items()))
    settings._added.clear()
    try:
        found = config.read(["--config", str(file)])
    except UsageError:
        return
    assert all(isinstance(one, str) for one in (*found.platforms, *found.entitlements, found.root, found.store, found.group))
    assert all(isinstance(table, dict) for table in settings.registries({}).values())


def test_addresses_of_the_file_count_where_none_are_typed(tmp_path: Path) -> None:
    (tmp_path / "c").write_text('root = "/r"\n[grpc]\naddress = ["tcp://0.0.0.0:1234"]\ngid = 5\n[grpc.tls]\ncert = "/c"\nkey = "/k"\nca = "/a"\n')
    found = config.read(["--config", str(tmp_path / "c")])
    assert found.root == "/r"
    assert found.group == "5"
    assert (found.listeners[0].host, found.listeners[0].port) == ("0.0.0.0", 1234)
    assert found.tls == config.TlsFiles("/c", "/k", "/a")


def test_each_key_of_the_file_counts_or_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "crun").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "crun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "own.crt").write_text("")
    (tmp_path / "c").write_text(
        'debug = true\ntrace = true\nprovenanceEnvDir = "/p"\n[grpc]\nuid = 1000\n[log]\nlevel = "warn"\nformat = "json"\n[otel]\nsocketPath = "/s"\n'
        '[system]\nplatformsCacheMaxAge = "1h"\nmaxRegistryConcurrency = 2\n[cdi]\ndisabled = false\nspecDirs = ["/x"]\nautoAllowed = ["a"]\n'
        '[frontend."dockerfile.v0"]\nenabled = true\n[worker.containerd]\nenabled = false\nselinux = true\n'
        '[worker.oci]\nbinary = "crun"\nrootless = true\nnoProcessSandbox = true\ncniPoolSize = 5\nselinux = false\napparmor-profile = ""\n'
        f'[registry."x"]\nca = ["/a", "/b"]\ntlsconfigdir = ["{tmp_path}/tls"]\n'
    )
    found = config.read(["--config", str(tmp_path / "c"), "--rootless"])
    assert (found.owner, found.executor) == (1000, "crun")
    assert (found.log_level, found.log_format, found.otel, found.platforms_age) == (logging.WARNING, "json", "/s", 3600.0)
    assert HostsConfig.from_mapping(settings.registries({})).settings("x").trust.ca_files == ("/a", "/b", f"{tmp_path}/tls/own.crt")
    assert config.read(["--oci-worker-binary", str(tmp_path / "bin" / "crun")]).executor == "crun"
    told = {text.removeprefix(f"{tmp_path}/c: ").partition(" has no effect")[0] for text in found.told}
    assert told == {
        "provenanceEnvDir", "cdi.disabled", "cdi.specDirs", "cdi.autoAllowed", "system.maxRegistryConcurrency", "worker.oci.rootless",
        "worker.oci.noProcessSandbox", "worker.oci.cniPoolSize", "--rootless",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "text", "level"),
    [([], "", logging.INFO), ([], "debug = true", logging.DEBUG), (["--debug"], "", logging.DEBUG), (["--log-level=error"], "debug = true", logging.ERROR)],
)
def test_how_much_is_said(tmp_path: Path, words: list[str], text: str, level: int) -> None:
    (tmp_path / "c").write_text(text)
    assert config.read([*words, "--config", str(tmp_path / "c")]).log_level == level


def test_a_pipe_in_the_place_of_the_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c")
    with pytest.raises(UsageError, match="not a regular file"):
        config.read(["--config", str(tmp_path / "c")])


@pytest.mark.parametrize(("prog", "expected"), [("dockcd", "/there"), ("buildkitd", "/there"), ("dockc daemon", "/own/daemon")])
def test_the_file_of_buildkits_place_is_for_those_called_as_its_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prog: str, expected: str
) -> None:
    monkeypatch.setenv("DOCKC_STORE", "/own")
    monkeypatch.setattr(config, "default_file", lambda: str(tmp_path / "buildkitd.toml"))
    assert config.read([], prog).root == "/own/daemon"
    (tmp_path / "buildkitd.toml").write_text('root = "/there"\n')
    assert config.read([], prog).root == expected
    (tmp_path / "other").write_text("")
    assert config.read(["--config", str(tmp_path / "other")], prog).root == "/own/daemon"


def test_what_emulators_run(tmp_path: Path) -> None:
    def entry(name: str, magic: str, flags: str = "OCF", first: str = "enabled") -> None:
        (tmp_path / name).write_text(f"{first}\ninterpreter /usr/bin/{name}\nflags: {flags}\noffset 0\nmagic {magic}\nmask ff\n")

    little, big = "7f454c46020101" + "00" * 9 + "0200", "7f454c46020201" + "00" * 9 + "0002"
    entry("qemu-aarch64", little + "b700")
    entry("qemu-s390x", big + "0016")
    entry("qemu-riscv64", little + "f300", flags="OC")  # looked for in the step's root
    entry("qemu-ppc64le", little + "1500", first="disabled")
    entry("python", "550d0d0a")
    (tmp_path / "status").write_text("enabled")
    assert [format_all(one) for one in emulated(tmp_path)] == ["linux/arm64", "linux/s390x"]
    assert emulated(tmp_path / "none") == ()
    assert [format_all(one) for one in Runnable(("linux/riscv64",), 0).now()] == ["linux/riscv64"]


def test_the_log_as_json() -> None:
    record = logging.LogRecord("x", logging.WARNING, "", 0, "a %s", ("b",), None)
    record.created = 0.0
    assert json.loads(JsonLines().format(record)) == {"level": "warning", "msg": "a b", "time": "1970-01-01T00:00:00Z"}


def test_how_the_store_is_collected(tmp_path: Path) -> None:
    (tmp_path / "c").write_text(
        '[worker.oci]\ngc = true\nreservedSpace = "1GB"\n[[worker.oci.gcpolicy]]\nall = true\nmaxUsedSpace = "20GB"\nfilters = ["type==regular"]\n'
    )
    disk = Disk(100 << 30, 0)
    found = config.read(["--config", str(tmp_path / "c")])
    assert found.gc.on(disk) == (Rule(all=True, max_used_space=20 << 30, filters=("type==regular",)),)
    assert config.read(["--config", str(tmp_path / "c"), "--oci-worker-gc=false"]).gc.on(disk) == ()
    typed = config.read(["--oci-worker-gc-keepstorage", "5,10,20"]).gc.on(disk)[2]
    assert (typed.reserved_space, typed.min_free_space, typed.max_used_space) == (5_000_000, 10_000_000, 20_000_000)
    assert config.read([]).gc == Policy()
    assert config.read(["--oci-worker-gc"]).gc.enabled
    for wrong in ("much", "1,2,3,4", "-5"):
        with pytest.raises(UsageError, match="oci-worker-gc-keepstorage"):
            config.read([f"--oci-worker-gc-keepstorage={wrong}"])


def test_exporters() -> None:
    assert output("local", {}).dest == ""
    assert output("", {}).type == "cacheonly"
    assert output("oci", {"name": "x"}, "1700000000").epoch == 1_700_000_000
    assert not output("oci", {"tar": "false"}).archive
    for kind, attrs in (("nonsense", {}), ("local", {"nonsense": "1"})):
        with pytest.raises(UsageError):
            output(kind, attrs)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("id==w", True), ("id==x", False), ("id!=x", True), ("labels.a", True), ("labels.b", False), ('labels."a"==1', True),
        ("labels.a==1,id==w", True), ("labels.a==1,id==x", False), ("labels.a~=^[0-9]$", True), ("labels.b~=x", False),
    ],
)  # fmt: skip
def test_filters_of_workers(text: str, fits: bool) -> None:
    assert worker_matches(text, common_pb2.WorkerRecord(ID="w", Labels={"a": "1"})) is fits


@pytest.mark.parametrize("text", ["nonsense", "id==", "id=x", "labels.a~=["])
def test_filters_that_are_none(text: str) -> None:
    with pytest.raises(RpcError):
        worker_matches(text, common_pb2.WorkerRecord(ID="w", Labels={"a": "1"}))


@pytest.mark.parametrize(
    ("options", "prog", "root", "store", "served"),
    [
        ([], "dockcd", "/own/daemon", "/own", True),
        ([], "buildkitd", "/own/daemon", "/own", False),
        (["--root", "/x"], "dockcd", "/x", "/x/store", False),
        (["--root", "/x", "--store", "/y"], "dockcd", "/x", "/y", True),
        (["--store", "/y"], "dockcd", "/y/daemon", "/y", True),
    ],
)
def test_where_it_builds(
    monkeypatch: pytest.MonkeyPatch, options: list[str], prog: str, root: str, store: str, served: bool
) -> None:
    monkeypatch.setenv("DOCKC_STORE", "/own")
    found = config.read(options, prog)
    assert (found.root, found.store, found.serves_builds) == (root, store, served)


def test_the_debug_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "buildkitd.toml"
    file.write_text('[grpc]\ndebugAddress = "127.0.0.1:6060"\n')
    assert config.read(["--config", str(file)]).debug == "127.0.0.1:6060"
    monkeypatch.setenv("BUILDKITD_DEBUGADDR", "unix:///e")
    assert config.read(["--config", str(file)]).debug == "unix:///e"
    assert config.read(["--config", str(file), "--debugaddr", "unix:///d"]).debug == "unix:///d"
