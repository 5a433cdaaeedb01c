"""Units, settings, and finding Dockerfiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockc.base.units import parse_duration, parse_size
from dockc.commands.discover import find, is_dockerfile
from dockc.engine import settings
from dockc.errors import UsageError


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("512", 512), ("10kB", 10_000), ("1KiB", 1024), ("1k", 1024), ("2.5GB", 2_500_000_000), ("1TiB", 1 << 40)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "1XB", "-1", "1 000", "1e3"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="invalid size"):
        parse_size(text)


def test_durations() -> None:
    assert parse_duration("1h30m") == 5400 * 10**9
    assert parse_duration("7d") == 7 * 86400 * 10**9
    assert parse_duration("1.5s") == 1_500_000_000
    for text in ("", "1", "h", "1x", "1h 2m"):
        with pytest.raises(UsageError, match="invalid duration"):
            parse_duration(text)


@pytest.mark.parametrize(
    "name", ["Dockerfile", "dockerfile", "Dockerfile.prod", "app.Dockerfile", "app.dockerfile", "Containerfile", "Containerfile.dev", "Dockerfile-dev"]
)
def test_names_of_dockerfiles(name: str) -> None:
    assert is_dockerfile(name)


@pytest.mark.parametrize("name", ["Dockerfile.dockerignore", "Dockerfile.lock", "Dockerfile~", "Makefile", "notdockerfile", "docker-compose.yml"])
def test_names_of_other_files(name: str) -> None:
    assert not is_dockerfile(name)


def test_directories_are_searched_and_patterns_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("Dockerfile", "b/app.dockerfile", "b/README", "node_modules/Dockerfile", ".git/Dockerfile", "c/d/Containerfile"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert find(["."]) == ["Dockerfile", "b/app.dockerfile", "c/d/Containerfile"]
    assert find(["**/*.dockerfile", "Dockerfile", "-", "Dockerfile"]) == ["b/app.dockerfile", "Dockerfile", "-"]
    assert find(["b/README"]) == ["b/README"]
    with pytest.raises(UsageError, match="does not exist"):
        find(["nope"])
    with pytest.raises(UsageError, match="no file matches"):
        find(["*.nope"])


def test_settings_come_from_one_file(tmp_path: Path) -> None:
    assert settings.load({"HOME": str(tmp_path)}) == {}
    path = tmp_path / ".config" / "dockc" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text('[registries."localhost:5000"]\nhttp = true\n')
    assert settings.registries({"HOME": str(tmp_path)}) == {"localhost:5000": {"http": True}}
    path.write_text("[nonsense]\n")
    with pytest.raises(UsageError, match=r"unknown table \[nonsense\]"):
        settings.load({"HOME": str(tmp_path)})
    path.write_text("[")
    with pytest.raises(UsageError, match=r"config\.toml"):
        settings.load({"HOME": str(tmp_path)})
    with pytest.raises(UsageError, match="does not exist"):
        settings.load({"DOCKC_CONFIG": str(tmp_path / "nope")})
