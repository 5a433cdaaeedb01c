"""What buildx's drivers are told when a builder is made."""

from __future__ import annotations

import pytest

from dockc.client import drivers
from dockc.client.address import Tls
from dockc.errors import UsageError


def made(addr: str, *texts: str, driver: str = "") -> Tls:
    return drivers.certificates(drivers.driver_of(addr, driver), drivers.options(texts), Tls())


def test_certificates_of_the_remote_driver() -> None:
    given = made("tcp://h:1", "cacert=/ca,servername=x", "cert=/c", "key=/k", "default-load=false", driver="remote")
    assert given == Tls("/ca", "/c", "/k", "x")
    assert made("unix:///s", driver="remote") == made("ssh://h") == made("kube-pod://p", driver="kubernetes") == Tls()


@pytest.mark.parametrize(
    ("addr", "driver", "text", "words"),
    [
        ("tcp://h:1", "docker", "", "--driver docker is not supported"),
        ("tcp://h:1", "kubernetes", "", "does not fit tcp://h:1"),
        ("docker-container://x", "remote", "", "does not fit"),
        ("tcp://h:1", "", "nonsense=1", "invalid driver option nonsense for remote driver"),
        ("tcp://h:1", "", "env.X=1", "invalid driver option env.X"),
        ("tcp://h:1", "", "cacert=relative", "non-absolute path"),
        ("tcp://h:1", "", "default-load=true", "default-load is not supported"),
        ("tcp://h:1", "", "x", "invalid --driver-opt x"),
        ("kube-pod://p", "", "nonsense=1", "invalid driver option nonsense for kubernetes driver"),
        *(
            ("docker-container://x", "", f"{key}=1", f"--driver-opt {key} is not supported")
            for key in (*sorted(drivers.KNOWN["docker-container"]), "env.X")
        ),
        *(
            ("kube-pod://p", "", f"{key}=1", f"--driver-opt {key} is not supported")
            for key in (*sorted(drivers.KNOWN["kubernetes"]), "env.X")
        ),
    ],
)
def test_what_is_refused_says_what_there_is_instead(addr: str, driver: str, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        made(addr, *filter(None, [text]), driver=driver)
    if "not supported" in words:
        assert caught.value.hint


def test_what_is_said_twice() -> None:
    with pytest.raises(UsageError, match="says again"):
        drivers.certificates("remote", {"cacert": "/a"}, Tls(ca="/b"))
