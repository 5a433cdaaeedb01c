"""Shared fixtures and the rule that a skipped test fails the run where all tools are present."""

from __future__ import annotations

import os
import signal
import tarfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from syrupy.assertion import SnapshotAssertion

from tests.golden.collect import Golden, golden_with

# Benchmarks measure time; a law that is slow on a busy machine is no less a law. Where a run decides about a change, it
# tries the same examples every time; elsewhere new ones are drawn.
settings.register_profile(
    "dockc",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("DOCKC_TESTS_NO_SKIP")),
)
settings.load_profile("dockc")

# Tests interrupt what they start, and what is started ignores what its starter does, as jobs in the background do.
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

#: What no package registry has: peers, recorded cases beside the checkout, processors. Where they are at hand their tests
#: run.
RARE = ("buildctl", "buildkitd", "../shared", "on this processor")

REPO = Path(__file__).resolve().parent.parent
SHARED = REPO.parent / "shared"


@pytest.fixture(scope="session", autouse=True)
def nobodys_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What tests build is not found in the store and the history of whoever runs them, also where a test names none."""
    os.environ["DOCKC_STORE"] = str(tmp_path_factory.mktemp("nobodys") / "store")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With DOCKC_TESTS_NO_SKIP set, a run that skipped anything ends with status 1."""
    if not os.environ.get("DOCKC_TESTS_NO_SKIP") or hasattr(session.config, "workerinput"):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    skipped = reporter.stats.get("skipped", [])
    skipped = [report for report in skipped if not any(tool in str(report.longrepr) for tool in RARE)]
    if skipped and exitstatus == 0:
        reporter.write_line(f"{len(skipped)} skipped tests, and DOCKC_TESTS_NO_SKIP is set", red=True)
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Why tests were skipped, a line for each reason: where few of the tools are at hand that is hundreds of tests."""
    places = defaultdict(list)
    for report in terminalreporter.stats.get("skipped", []):
        if isinstance(report.longrepr, tuple):  # others are failures that were expected, with a traceback
            path, line, reason = report.longrepr
            places[reason.removeprefix("Skipped: ")].append(f"{os.path.relpath(path, REPO)}:{line}")
    if not places:
        return
    terminalreporter.section("skipped, and why")
    for reason, where in sorted(places.items(), key=lambda one: (-len(one[1]), one[0])):
        rest = ", …" if len(set(where)) > 1 else ""
        terminalreporter.write_line(f"{len(where):5}  {reason} ({where[0]}{rest})")


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes that are no text name no case: an archive holds the time it was made, and every worker makes its own."""
    if isinstance(val, bytes) and not (val.isascii() and val.decode("ascii").isprintable()):
        return argname
    return None


def member(archive: tarfile.TarFile, name: str | tarfile.TarInfo) -> bytes:
    """The content of a regular file in an archive."""
    stream = archive.extractfile(name)
    assert stream is not None, f"{name} is no regular file"
    return stream.read()


@pytest.fixture
def golden(snapshot: SnapshotAssertion) -> Golden:
    """Compares with a file of a case; see `tests.golden.collect`."""
    return golden_with(snapshot)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests leave the user's cache alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("xdg-cache")))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of conformance cases beside the checkout; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared beside this checkout")
    return SHARED
