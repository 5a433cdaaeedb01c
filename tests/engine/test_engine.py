"""Many builds on one engine: what they share is done once, and none of them harms another."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from dockc.engine.work import Work
from dockc.errors import DockcError
from tests.e2e.test_cache_faults import Between, Fault
from tests.runtime.registry_servers import Answer, Script, Seen, real_registry

REPO = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as the store's layers are made by steps")


class Run(Protocol):
    """Runs a scenario of `driver.py`."""

    def __call__(self, scenario: str, *arguments: object) -> dict[str, Any]: ...


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A base image made of this machine's programs."""
    folder = tmp_path_factory.mktemp("base") / "layout"
    command = [sys.executable, "-m", "dockc", "base", "sh", "cat", "cp", "sleep", "mkdir", "--output", str(folder)]
    subprocess.run(command, check=True, capture_output=True, cwd=REPO)
    yield folder


@pytest.fixture
def run(base: Path, tmp_path: Path) -> Run:
    def run(scenario: str, *arguments: object) -> dict[str, Any]:
        command = [sys.executable, "-W", "error", "-m", "tests.engine.driver", scenario, str(tmp_path), str(base), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPO, timeout=250)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


def test_fifty_builds_execute_as_many_steps_as_there_are_distinct_ones(run: Run) -> None:
    found = run("fifty")
    # One `tools`; of each of the five kinds three more up to /both; of each of the ten pairs two more.
    assert found["executed"] == 1 + 5 * 3 + 10 * 2, found["seen"]
    assert found["built"] == 50
    assert found["again"] == 0, "everything is cached the second time"
    assert found["cached"] == [6] * 50, "each build says of its own steps that they were there"
    assert not any(found["rest"].values()), str(found["rest"])


def test_a_build_that_fails_leaves_the_others(run: Run) -> None:
    found = run("failing")
    bad = 'process "/bin/sh -c exit 3" did not complete successfully: exit code: 3'
    assert found["results"] == [bad if n % 3 == 2 else "built" for n in range(10)]
    assert not any(found["rest"].values()), str(found["rest"])


@pytest.mark.parametrize("seed", range(4))
def test_builds_that_are_cancelled_leave_the_others(run: Run, seed: int) -> None:
    found = run("cancelled", seed)
    assert found["wrong"] == []
    assert found["ended"]["built"] >= 12
    assert found["ended"]["built"] + found["ended"].get("cancelled", 0) == 24
    assert not any(found["rest"].values()), str(found["rest"])


def test_each_build_gets_the_files_of_its_own_directory(run: Run) -> None:
    assert run("directories")["said"] == [f"file {n}\n" for n in range(8)]


def test_a_shared_step_is_lent_what_any_of_its_builds_has(run: Run) -> None:
    found = run("secrets")
    assert found["said"] == ["known\n", "known\n"]
    assert found["asked"] == [1, 1]


def test_nothing_on_the_loop_waits_for_a_disk_or_a_process(run: Run) -> None:
    assert run("blocking")["seen"] == {}


def test_the_store_is_looked_at_by_the_engine_and_not_by_builds(run: Run) -> None:
    assert run("garbage") == {"during": 0, "after": 1}


def test_a_frontend_may_ask_for_all_that_the_gateway_knows(run: Run) -> None:
    found = run("bridge")
    seen = found["seen"]
    assert seen["lazy"] and seen["bad is lazy"], "what nobody needs is not solved"
    assert (seen["whole"], seen["part"], seen["through a link"]) == ("0123456789", "3456", "0123456789")
    assert seen["missing"] == "DockcError: open .dockerignore: no such file or directory"
    assert seen["outside"] == "DockcError: open ../../../etc/passwd: no such file or directory"
    assert seen["a directory"] == "DockcError: failed to read /d: not a regular file"
    assert (seen["names"], seen["some names"]) == (["a", "b"], ["b"])
    assert seen["no directory"] == "DockcError: open /x: no such file or directory"
    assert seen["stat"] == ["link", "0o120777", "/d/a"]
    assert seen["no file"] == "DockcError: open /nothing: no such file or directory"
    assert seen["meta"] is True
    assert seen["no such source"] == "DockcError: source 'local://context': scheme 'local' has nothing to be asked about"
    assert seen["no frontend"] == "DockcError: frontend nobody.v0 not found"
    assert seen["later"] == "DockcError: gateway.v0 needs the option source"
    assert seen["inner"] == ["containerimage.base.config", "containerimage.config", "refs.platforms"]
    assert seen["inner file"] == "one"
    assert seen["inputs"] == ["given"]
    assert found["warned"] == ["careful"]
    assert found["outputs"] == 1
    assert not any(found["rest"].values()), str(found["rest"])


def test_a_store_that_is_removed_is_told_as_that(run: Run, tmp_path: Path) -> None:
    assert run("removed")["said"] == [f"the store {tmp_path}/other has been removed while this process uses it"] * 2


def test_a_build_inside_of_a_build(run: Run) -> None:
    found = run("graphs")
    said = found["said"]
    assert said.pop("again") == "f"
    assert said.pop("waits") == "True", "cancelled, with the step that it waits for"
    assert said.pop("self") == said.pop("one") == "a build inside of a build contains itself"
    assert said.pop("folder") == "folder is not a regular file"
    assert said.pop("away") == "failed to open away: no such file or directory"
    assert said.pop("missing") == "failed to open missing: no such file or directory"
    assert said.pop("empty") == "invalid empty definition"
    assert list(said) == ["garbage"]
    assert not any(found["rest"].values()), str(found["rest"])
    given = found["given"]
    assert given.count("clone") == given.count("release") > 0, "cancelled as the inner build ends: nobody else gives it up"
    assert given[-1] == "cancelled"


def test_a_definition_needs_no_frontend(run: Run) -> None:
    found = run("bare")
    assert found["executed"] == 1
    assert found["empty"] == 0
    assert found["metadata"] == ["containerimage.config.digest", "containerimage.descriptor", "containerimage.digest"]


def test_nothing_grows_with_the_life_of_an_engine(run: Run) -> None:
    assert run("lifetime")["more"] == {}


def test_an_engine_that_is_closed_ends_its_builds(run: Run) -> None:
    assert run("closing") == {"cancelled": True}


def test_layers_that_another_user_s_build_has_found_are_fetched_as_oneself(run: Run, tmp_path: Path) -> None:
    """A build leaves layers of its cache where they are; the build that needs them is let in by its own user's name."""
    (tmp_path / "registry").mkdir()
    readers: list[str] = []
    with real_registry(tmp_path / "registry") as registry:
        between = Between(registry)

        def let_in(seen: Seen, forward: Callable[[], Answer]) -> Answer:
            user = base64.b64decode(seen.headers.get("authorization", "").removeprefix("Basic ")).decode().partition(":")[0]
            if not user:
                return Answer(401, b"{}", {"WWW-Authenticate": 'Basic realm="tests"'})
            if seen.method == "GET" and "/blobs/" in seen.path:
                readers.append(user)
            return forward()

        between.faults = [Fault("", "/v2/app/", let_in)]
        with Script(between) as server:
            found = run("strangers", server.address)
    assert found == {"step": [0, 1], "local": [0, 0], "archive": [0, 0], "push": [0, 0]}
    assert (tmp_path / "files" / "b").read_text() == "A"
    assert readers.count("other") >= 6


def test_one_step_builds_its_graph_twice_at_once() -> None:
    """With the cache and without it: what the other one waits for is still known when one ends."""
    work = object.__new__(Work)
    work._graphs = {}
    with work.graph_of("one", frozenset({"inner"})):
        with work.graph_of("one", frozenset({"inner"})):
            pass
        with pytest.raises(DockcError, match="contains itself"), work.graph_of("inner", frozenset({"one"})):
            pass
    assert work._graphs == {}
