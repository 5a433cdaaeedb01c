"""What buildx's drivers are told when a builder is made (`--driver`, `--driver-opt`), in dockc's words: what works, and what
there is instead of what does not. dockc starts no builders; it goes to those that run.

Source: docker/buildx, driver/remote, driver/docker-container and driver/kubernetes (names of the options).
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence

from dockc.base.record import replace
from dockc.client import address
from dockc.client.address import Tls
from dockc.errors import UsageError

_SCHEMES = {
    "remote": ("tcp", "unix", "ssh"),
    "docker-container": ("docker-container", "podman-container"),
    "kubernetes": ("kube-pod",),
}
_TLS = {"cacert": "ca", "cert": "cert", "key": "key", "servername": "server_name"}
_CONTAINER = frozenset(
    (
        "network", "image", "memory", "memory-swap", "cpu-period", "cpu-quota", "cpu-shares", "cpuset-cpus", "cpuset-mems", "cgroup-parent",
        "restart-policy", "default-load", "provenance-add-gha", "allow-untrusted-image",
    )
)  # fmt: skip
_KUBERNETES = frozenset(
    (
        "image", "namespace", "replicas", "requests.cpu", "requests.memory", "requests.ephemeral-storage", "persistent-volume-claim.requests.storage",
        "limits.cpu", "limits.memory", "limits.ephemeral-storage", "rootless", "schedulername", "serviceaccount", "nodeselector", "annotations",
        "labels", "tolerations", "loadbalance", "qemu.install", "qemu.image", "buildkit-root-volume-memory", "default-load", "timeout",
    )
)  # fmt: skip
KNOWN: Mapping[str, frozenset[str]] = {
    "remote": frozenset((*_TLS, "default-load")),
    "docker-container": _CONTAINER,
    "kubernetes": _KUBERNETES,
}
_INSTEAD = {
    "docker-container": "dockc starts no containers: give these options to the `docker run` that starts the daemon, and its name as docker-container://NAME.",
    "kubernetes": "dockc makes no deployments: write it into the manifest (examples/kubernetes), and name a pod as kube-pod://POD?namespace=NAMESPACE.",
}
_SINGLE = {
    "default-load": "A build says where its result goes: `dockc build --load`, or -o.",
    "loadbalance": "Name each pod as a node (--append): builds go to them by what they build, and past those that are gone.",
    "replicas": "Name each pod as a node: dockc builder create NAME kube-pod://POD --append.",
    "namespace": "It is part of the address: kube-pod://POD?namespace=NAMESPACE.",
    "timeout": "dockc waits 20 seconds for an answer.",
}


def driver_of(addr: str, driver: str) -> str:
    """The driver that buildx would have for an address.

    Raises:
        UsageError: it is not the one that was named, or there is none of that name.
    """
    scheme = address.parse(addr).scheme
    own = next(name for name, schemes in _SCHEMES.items() if scheme in schemes)
    if driver and driver not in _SCHEMES:
        raise UsageError(
            f"--driver {driver} is not supported", hint=f"Known: {', '.join(_SCHEMES)}; dockc builds here without any."
        )
    if driver and driver != own:
        wanted = ", ".join(f"{one}://" for one in _SCHEMES[driver])
        raise UsageError(f"--driver {driver} does not fit {addr}", hint=f"Its addresses begin with {wanted}.")
    return own


def options(texts: Sequence[str]) -> dict[str, str]:
    """`KEY=VALUE`, several by commas, as buildx reads them.

    Raises:
        UsageError: one that is no such pair.
    """
    found: dict[str, str] = {}
    for text in texts:
        for field in next(csv.reader([text]), []):
            key, equals, value = field.partition("=")
            if not equals:
                raise UsageError(f"invalid --driver-opt {field}", hint="KEY=VALUE, several by commas.")
            found[key.strip()] = value
    return found


def certificates(driver: str, given: Mapping[str, str], tls: Tls) -> Tls:
    """The certificates that options of a driver name, with those that were given otherwise.

    Raises:
        UsageError: an option that the driver does not have, or that cannot be here.
    """
    for key, value in given.items():
        if key not in KNOWN[driver] and not (key.startswith("env.") and driver != "remote"):
            raise UsageError(
                f"invalid driver option {key} for {driver} driver",
                hint=f"Known: {', '.join(sorted(KNOWN[driver]))}.",
            )
        if key == "default-load" and value.lower() in {"0", "f", "false"}:
            continue  # so it is
        name = _TLS.get(key) if driver == "remote" else None
        if name is None:
            raise UsageError(f"--driver-opt {key} is not supported", hint=_SINGLE.get(key) or _INSTEAD.get(driver, ""))
        if name != "server_name" and not os.path.isabs(value):  # noqa: PTH117
            raise UsageError(f"non-absolute path '{value}' provided for {key}")
        if getattr(tls, name):
            raise UsageError(f"--driver-opt {key} says again what another option says", hint="Give one of them.")
        tls = replace(tls, **{name: value})
    return tls
