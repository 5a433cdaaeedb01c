"""Which files a directory or a pattern means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dockc.commands.discover import find, find_some, is_dockerfile
from dockc.errors import UsageError


@pytest.mark.parametrize(
    "name",
    ["Dockerfile", "dockerfile", "Dockerfile.dev", "Dockerfile-prod", "Dockerfile_amd", "Dockerfile2", "Dockerfile.go", "api.Dockerfile",
     "x.dockerfile", "Containerfile", "Containerfile.alpine", "y.containerfile", "DOCKERFILE",
     "app.dockerfile", "Dockerfile-dev"],
)  # fmt: skip
def test_names_of_dockerfiles(name: str) -> None:
    assert is_dockerfile(name)


@pytest.mark.parametrize(
    "name",
    ["Dockerfile.dockerignore", "Dockerfile.json", "Dockerfile.j2", "Dockerfile.template", "Dockerfile.lock", "Dockerfile~", "dockerfile_parser.py",
     "DockerfileTest.java", "notes.txt", "my-dockerfiles", "Dockerfile.orig",
     "Makefile", "notdockerfile", "docker-compose.yml"],
)  # fmt: skip
def test_names_of_other_files(name: str) -> None:
    assert not is_dockerfile(name)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("Dockerfile", "a/Dockerfile", "a/b/x.dockerfile", "a/.devcontainer/Dockerfile", "node_modules/Dockerfile"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("FROM a:1\n")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to("self")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_links_that_lead_in_circles_are_not_followed(tree: Path) -> None:
    assert find(["."]) == ["Dockerfile", "a/Dockerfile", "a/.devcontainer/Dockerfile", "a/b/x.dockerfile"]
    assert find(["**/*file"]) == ["Dockerfile", "a/.devcontainer/Dockerfile", "a/Dockerfile", "a/b/x.dockerfile"]


def test_patterns(tree: Path) -> None:
    assert find(["a/**/*.dockerfile"]) == ["a/b/x.dockerfile"]
    assert find(["a/**/Dockerfile"]) == ["a/.devcontainer/Dockerfile", "a/Dockerfile"]
    assert find(["*/D*"]) == ["a/Dockerfile", "node_modules/Dockerfile"]
    assert find([f"{tree}/**/x.*"]) == [f"{tree}/a/b/x.dockerfile"]
    assert find(["Dockerfile", "Docker*", "Dockerfile"]) == ["Dockerfile"]
    with pytest.raises(UsageError, match="no file matches"):
        find(["**/nothing*"])


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


def test_a_directory_that_cannot_be_searched_is_told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("a/b"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", closed)
    said: list[str] = []
    for argument in (".", "**/*file"):
        assert sorted(find_some([argument], "warn", said.append)) == ["Dockerfile", "a/.devcontainer/Dockerfile", "a/Dockerfile"]
    assert said == ["warning: ./a/b is not searched: Permission denied\n"] * 2
