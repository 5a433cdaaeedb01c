"""The verbs of the command line, and where each has its options and its function."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from dockc.base.options import Options
    from dockc.base.output import Output

    Run = Callable[[Any, Output], int]

#: Verb: the module below `dockc`, its record of options, its function. The words before its last are its group.
VERBS: dict[str, tuple[str, str, str]] = {
    "base": ("commands.base", "BaseOptions", "run"),
    "build": ("commands.build", "BuildOptions", "run"),
    "buildctl": ("commands.buildctl", "BuildctlOptions", "run"),
    "builder create": ("commands.builder", "CreateOptions", "run_create"),
    "builder du": ("commands.usage", "RemoteUsageOptions", "run_remote"),
    "builder inspect": ("commands.builder", "InspectOptions", "run_inspect"),
    "builder ls": ("commands.builder", "ListOptions", "run_list"),
    "builder prune": ("commands.prune", "RemotePruneOptions", "run_remote"),
    "builder rm": ("commands.builder", "RemoveOptions", "run_remove"),
    "builder use": ("commands.builder", "UseOptions", "run_use"),
    "cache mounts export": ("commands.mounts", "ExportOptions", "run_export"),
    "cache mounts import": ("commands.mounts", "ImportOptions", "run_import"),
    "cache mounts ls": ("commands.mounts", "ListOptions", "run_list"),
    "cache mounts rm": ("commands.mounts", "RemoveOptions", "run_remove"),
    "cache mounts shell": ("commands.mounts", "ShellOptions", "run_shell"),
    "compile": ("commands.compile", "CompileOptions", "run"),
    "completion": ("commands.completion", "CompletionOptions", "run"),
    "config": ("commands.config", "ConfigOptions", "run"),
    "daemon": ("commands.daemon", "DaemonOptions", "run"),
    "decompile": ("commands.ir", "DecompileOptions", "run_decompile"),
    "doctor": ("commands.store", "DoctorOptions", "run_doctor"),
    "du": ("commands.usage", "UsageOptions", "run"),
    "explain": ("commands.explain", "ExplainOptions", "run"),
    "fmt": ("commands.fmt", "FormatOptions", "run"),
    "history export": ("commands.history", "ExportOptions", "run_export"),
    "history import": ("commands.history", "ImportOptions", "run_import"),
    "history inspect": ("commands.history", "InspectOptions", "run_inspect"),
    "history inspect attachment": ("commands.attachment", "AttachmentOptions", "run"),
    "history logs": ("commands.history", "LogsOptions", "run_logs"),
    "history ls": ("commands.history", "ListOptions", "run_list"),
    "history open": ("commands.history", "OpenOptions", "run_open"),
    "history rm": ("commands.history", "RemoveOptions", "run_remove"),
    "image files": ("commands.image", "FilesOptions", "run_files"),
    "image history": ("commands.image", "LayersOptions", "run_layers"),
    "image inspect": ("commands.image", "InspectOptions", "run_inspect"),
    "image layers": ("commands.image", "LayersOptions", "run_layers"),
    "image load": ("commands.image", "LoadOptions", "run_load"),
    "image ls": ("commands.store", "ImagesOptions", "run_images"),
    "image pull": ("commands.image", "PullOptions", "run_pull"),
    "image push": ("commands.image", "PushOptions", "run_push"),
    "image rm": ("commands.image", "RemoveOptions", "run_remove"),
    "image save": ("commands.image", "SaveOptions", "run_save"),
    "image tag": ("commands.image", "TagOptions", "run_tag"),
    "images": ("commands.store", "ImagesOptions", "run_images"),
    "inspect": ("commands.image", "InspectOptions", "run_inspect"),
    "lint": ("commands.lint.command", "LintCommandOptions", "run"),
    "load": ("commands.image", "LoadOptions", "run_load"),
    "lock": ("commands.lock", "LockOptions", "run"),
    "login": ("commands.image", "LoginOptions", "run_login"),
    "lsp": ("lsp.command", "LspOptions", "run"),
    "opt": ("commands.ir", "OptOptions", "run_opt"),
    "passes": ("commands.ir", "PassesOptions", "run_passes"),
    "playground": ("commands.playground", "PlaygroundOptions", "run"),
    "prune": ("commands.prune", "PruneOptions", "run"),
    "pull": ("commands.image", "PullOptions", "run_pull"),
    "push": ("commands.image", "PushOptions", "run_push"),
    "rmi": ("commands.image", "RemoveOptions", "run_remove"),
    "run": ("commands.run", "RunOptions", "run"),
    "save": ("commands.image", "SaveOptions", "run_save"),
    "system df": ("commands.usage", "UsageOptions", "run"),
    "system prune": ("commands.prune", "PruneOptions", "run"),
    "tag": ("commands.image", "TagOptions", "run_tag"),
    "version": ("commands.image", "VersionOptions", "run_version"),
}
#: The word before what shells ask: `dockc __complete -- WORDS...`.
COMPLETE = "__complete"
#: Headings of the overview, and what stands below them; each verb and group once.
SECTIONS: dict[str, tuple[str, ...]] = {
    "Dockerfiles": ("lint", "fmt", "explain", "compile", "lock", "config"),
    "Images": ("build", "run", "images", "image", "history", "base"),
    "The store": ("du", "prune", "cache", "doctor"),
    "Builders elsewhere": ("builder", "buildctl", "daemon"),
    "Editors, shells, browsers": ("lsp", "playground", "completion"),
    "Inside the compiler": ("opt", "passes", "decompile"),
    "Docker's words": ("pull", "push", "tag", "save", "load", "inspect", "rmi", "login", "system", "version"),
}
#: What a group of verbs is about, by its words.
GROUPS: dict[str, str] = {
    "builder": "Builders elsewhere, by name.",
    "cache": "What builds keep for the next ones.",
    "cache mounts": "Directories of RUN --mount=type=cache: look at them, take them elsewhere.",
    "history": "Builds that were. What an image's layers are is said by `dockc image history`.",
    "image": "Images of the store: what is in them, archives, registries.",
    "system": "The store in docker's words: `dockc du` and `dockc prune`.",
}


class Line:
    """A command line that was understood: the options, and what is to be called with them."""

    __slots__ = ("options", "run")

    def __init__(self, options: Options, run: Run) -> None:
        self.options = options
        self.run = run


def verb_of(argv: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The verb a line begins with, and the rest; "" where it begins with none."""
    for count in (3, 2, 1):
        verb = " ".join(argv[:count])
        if len(argv) >= count and verb in VERBS:
            return verb, argv[count:]
    return "", argv


def members(group: str) -> Iterator[tuple[str, str]]:
    """What stands directly below a group ("": below dockc): the last word and the whole name of verbs and groups."""
    for name in sorted((*GROUPS, *(verb for verb in VERBS if verb not in GROUPS))):
        above, _, word = name.rpartition(" ")
        if above == group:
            yield word, name


def command(verb: str) -> tuple[type[Options], Run]:
    """The options and the function of a verb."""
    where, options, function = VERBS[verb]
    name = f"dockc.{where}"
    __import__(name)  # `importlib` loads `warnings`, which takes as long as reading the line
    module = sys.modules[name]
    return getattr(module, options), getattr(module, function)
