"""Networks that CNI plugins make: what the plugins are told, what a step has, and what is left when it is over."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from dockc import llb
from dockc.engine.bridge import Bridge, Result
from dockc.engine.engine import Engine, EngineOptions
from dockc.engine.request import BuildRequest
from dockc.errors import DockcError, UsageError
from dockc.runtime.executor import netfiles
from dockc.runtime.executor.base import Dns
from dockc.runtime.executor.cni import Cni, NetworkOptions
from dockc.runtime.exporter.options import Output
from dockc.runtime.session.base import Session
from tests.tools import busybox

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces of steps are for daemons of root")

PLUGIN = """#!/bin/sh
read -r config
echo "$CNI_COMMAND $(basename "$0") $CNI_IFNAME $CNI_ARGS $(readlink -f "$CNI_NETNS") $config" >> "$(dirname "$0")/log"
test -s "$CNI_NETNS" || test -e "$CNI_NETNS" || exit 3
if [ "$CNI_COMMAND" = ADD ]; then
  case "$(basename "$0")" in
    broken) echo '{"code": 7, "msg": "no room in the subnet"}'; exit 1 ;;
    *) echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24"}]}' ;;
  esac
fi
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """Programs that do nothing but tell what they were called with."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    for name in ("first", "second", "broken"):
        (folder / name).write_text(PLUGIN)
        (folder / name).chmod(0o755)
    return folder


def config(folder: Path, *kinds: str) -> Path:
    path = folder / "net.conflist"
    path.write_text(json.dumps({"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": one, "own": 1} for one in kinds]}))
    return path


def step(folder: Path, network: NetworkOptions, script: str, executor: str = "embedded") -> dict[str, str]:
    """What a step writes, by file."""
    shell = busybox().read_bytes()
    root = llb.scratch().file(llb.mkdir("/bin")).file(llb.mkfile("/bin/busybox", shell, 0o755))
    ran = root.hostname("given").run("/bin/busybox", "sh", "-c", f"cd /out; {script}", mounts=[llb.mount("/out")])
    definition = ran.mount("/out").marshal()

    async def frontend(bridge: Bridge) -> Result:
        return await bridge.solve(definition)

    async def main() -> None:
        request = BuildRequest(outputs=(Output("local", str(folder / "out")),))
        options = EngineOptions(root=folder / "store", network=network, executor=executor)
        async with asyncio.timeout(100), Engine(options) as engine:
            await engine.run(frontend, request, Session(), lambda status: None)

    asyncio.run(main())
    return {path.name: path.read_text() for path in (folder / "out").iterdir()}


@pytest.mark.parametrize("executor", ["embedded", "crun", "runc"])
def test_a_step_in_a_network_of_its_own(tmp_path: Path, plugins: Path, executor: str) -> None:
    if executor != "embedded" and not shutil.which(executor):
        pytest.skip(f"{executor} is not installed")
    dns = Dns(nameservers=("10.0.0.1", "10.0.0.3"), search=("a.example", "b.example"))
    network = NetworkOptions(mode="cni", config=config(tmp_path, "first", "second"), plugins=plugins, dns=dns)
    script = "b=/bin/busybox; $b readlink /proc/self/ns/net > ns; $b grep -c : /proc/net/dev > count; $b cp /etc/resolv.conf ."
    found = step(tmp_path, network, script, executor)
    assert found["ns"].strip() != str(Path("/proc/self/ns/net").readlink())
    assert found["count"] == "1\n"
    assert found["resolv.conf"].endswith("nameserver 10.0.0.1\nnameserver 10.0.0.3\nsearch a.example b.example\n")
    told = [line.split(" ", 5) for line in (plugins / "log").read_text().splitlines()]
    assert [one[:4] for one in told] == [
        [command, name, "eth0", "K8S_POD_NAME=given;IgnoreUnknown=1"]
        for command, name in (("ADD", "first"), ("ADD", "second"), ("DEL", "second"), ("DEL", "first"))
    ]
    first, second, *_ = (json.loads(one[5]) for one in told)
    assert first == {"type": "first", "own": 1, "name": "n", "cniVersion": "1.0.0"}
    assert second["prevResult"] == {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24"}]}
    assert not Path(told[0][4]).exists()
    assert told[0][4] not in Path("/proc/self/mountinfo").read_text()


def test_a_plugin_that_fails(tmp_path: Path, plugins: Path) -> None:
    network = NetworkOptions(mode="cni", config=config(tmp_path, "first", "broken"), plugins=plugins)
    with pytest.raises(DockcError, match="network plugin broken failed to add: no room in the subnet"):
        step(tmp_path, network, "true")
    told = [line.split(" ", 2)[:2] for line in (plugins / "log").read_text().splitlines()]
    assert told == [["ADD", "first"], ["ADD", "broken"], ["DEL", "broken"], ["DEL", "first"]]


def test_what_is_no_network(tmp_path: Path, plugins: Path) -> None:
    for text in ("", "[]", "{}", '{"plugins": []}', '{"name": "n", "plugins": [1]}', '{"name": "n", "plugins": [{"type": "../x"}]}'):
        (tmp_path / "net.conflist").write_text(text)
        with pytest.raises(UsageError):
            Cni.load(tmp_path / "net.conflist", plugins, tmp_path)
    with pytest.raises(UsageError, match="there is no network plugin 'absent'"):
        Cni.load(config(tmp_path, "absent"), plugins, tmp_path)
    with pytest.raises(UsageError, match="cannot read the network configuration"):
        Cni.load(tmp_path / "absent", plugins, tmp_path)
    assert NetworkOptions(mode="auto", config=tmp_path / "absent").resolved() == "host"
    assert NetworkOptions(mode="auto", config=config(tmp_path, "first")).resolved() == "cni"
    with pytest.raises(UsageError, match="invalid network mode odd"):
        NetworkOptions(mode="odd").resolved()


def test_name_servers(tmp_path: Path) -> None:
    source = tmp_path / "resolv.conf"
    source.write_text("nameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch x\noptions edns0\n")
    assert netfiles.resolv_conf(source) == source.read_bytes()
    assert netfiles.resolv_conf(source, apart=True) == b"nameserver 192.0.2.1\nsearch x\noptions edns0\n"
    given = Dns(nameservers=("10.0.0.1",), options=("ndots:2", "rotate"))
    assert netfiles.resolv_conf(source, dns=given) == b"search x\nnameserver 10.0.0.1\noptions ndots:2 rotate\n"
