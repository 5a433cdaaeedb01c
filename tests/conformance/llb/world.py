"""The world that the cases were recorded in: images, files, servers and repositories that exist only on paper."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from dockc.compiler.options import CompileOptions
from dockc.compiler.questions import (
    Answers,
    ContextRequest,
    GitAnswer,
    GitRequest,
    HttpAnswer,
    HttpRequest,
    ImageAnswer,
    ImageRequest,
    Request,
)
from dockc.llb import caps as known_caps
from dockc.oci import platform as platforms
from dockc.oci import reference as references

CREATED = "2024-01-02T03:04:05Z"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOST = platforms.parse("linux/amd64")


def sha256(text: str) -> str:
    """The digest of a text."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


class World:
    """Answers requests as the stubs of a case do."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.images = {
            str(references.parse_normalized(name).tag_name_only()): entry
            for name, entry in case.get("images", {}).items()
        }
        self.http = case.get("http", {})
        self.git = case.get("git", {})
        self.files: dict[tuple[str, str], bytes] = {}
        for name, files in case.get("local_files", {}).items():
            for file, text in files.items():
                self.files[name, file] = text.encode()
        if "dockerignore" in case:
            self.files["context", ".dockerignore"] = case["dockerignore"].encode()

    def answer(self, requests: tuple[Request, ...]) -> Answers:
        """The answers to all requests."""
        images, files, http, git = {}, {}, {}, {}
        for request in requests:
            match request:
                case ImageRequest():
                    images[request.key] = self._image(request)
                case ContextRequest():
                    for file in request.files:
                        files[request.name, file] = self.files.get((request.name, file))
                case HttpRequest():
                    entry = self.http.get(request.url, {})
                    http[request.url] = HttpAnswer(last_modified=entry.get("last_modified", ""))
                case GitRequest():
                    entry = self.git.get(request.identifier, {})
                    git[request.identifier] = GitAnswer(commit_object=entry.get("commit_object", "").encode())
        return Answers(images, files, http, git)

    def _image(self, request: ImageRequest) -> ImageAnswer:
        reference = references.parse_normalized(request.ref).tag_name_only()
        name = str(reference)
        entry = self.images.get(name, {})
        if "error" in entry:
            return ImageAnswer(request.ref, error=entry["error"])
        digest = entry.get("digest") or reference.digest or sha256(name)
        return ImageAnswer(
            entry.get("ref", request.ref),
            "" if digest == "none" else digest,
            json.dumps(self._config(name, request, entry)).encode(),
        )

    def _config(self, name: str, request: ImageRequest, entry: dict[str, Any]) -> dict[str, Any]:
        if "image" in entry:
            image: dict[str, Any] = entry["image"]
            return image
        platform = request.platform
        config: dict[str, Any] = {} if platform.os == "windows" else {"Env": [PATH]}
        image = {
            "created": CREATED,
            "architecture": platform.architecture,
            "os": platform.os,
            "rootfs": {"type": "layers", "diff_ids": [sha256(f"layer:{name}")]},
            "history": [{"created": CREATED, "created_by": f"stub {name}"}],
            "config": entry.get("config", config),
        }
        for key, value in (
            ("variant", platform.variant),
            ("os.version", platform.os_version),
            ("os.features", list(platform.os_features)),
        ):
            if value:
                image[key] = value
        return image


_OPTIONS = {
    "target": "target",
    "target_platform": "platform",
    "image_resolve_mode": "image-resolve-mode",
    "add_hosts": "add-hosts",
    "shm_size": "shm-size",
    "ulimit": "ulimit",
    "hostname": "hostname",
    "cgroup_parent": "cgroup-parent",
    "network_mode": "force-network-mode",
    "no_cache": "no-cache",
    "cache_ns": "build-arg:BUILDKIT_CACHE_MOUNT_NS",
    "lint_config": "build-arg:BUILDKIT_DOCKERFILE_CHECK",
    "filename": "filename",
    "main_context": "context",
}
_MAPS = {"build_args": "build-arg:", "labels": "label:", "contexts": "context:"}


def frontend_options(case: dict[str, Any]) -> dict[str, str]:
    """The frontend's option map for a case."""
    out: dict[str, str] = {option: case[field] for field, option in _OPTIONS.items() if field in case}
    for field, prefix in _MAPS.items():
        for key, value in case.get(field, {}).items():
            out[prefix + key] = value
    if case.get("multi_platform"):
        out["multi-platform"] = "true"
    out.update(case.get("attrs", {}))
    return out


def compile_options(case: dict[str, Any]) -> CompileOptions:
    """The options of a case. Raises CompileError for options that the frontend refuses."""
    build = tuple(platforms.normalize(platforms.parse(text)) for text in case.get("build_platforms", ("linux/amd64",)))
    return CompileOptions.from_attrs(
        frontend_options(case),
        build_platforms=build,
        host_platform=HOST,
        session=case.get("session_id", "session-0"),
        devices=tuple((d["name"], d.get("optional", False)) for d in case.get("devices", ())),
        caps=known_caps.ALL - frozenset(case.get("disabled_caps", ())),
    )
