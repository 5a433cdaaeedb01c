"""`dockc lock`: the compiler's answers written down, and the same pins as a BuildKit source policy.

The lock file is an answers file (see `compiler.questions`) with image configs, digests, commits and download digests of
everything that
the Dockerfile takes from outside. `--locked` compiles with these answers alone, and holds every source to them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dockc.base.files import FILE_LIMIT, read_regular
from dockc.base.options import Options, option
from dockc.base.output import counted
from dockc.commands import shared
from dockc.compiler.questions import Answers
from dockc.engine.lock import differences, find_out, pins, source_policy
from dockc.engine.request import CompileRequest, dockerfile_path
from dockc.errors import UsageError

if TYPE_CHECKING:
    from dockc.base.output import Output


class LockOptions(Options):
    """Write down what a Dockerfile's images, repositories and URLs are now, for `--locked` builds."""

    context: str = shared.CONTEXT
    file: str = shared.FILE
    output: Path | None = option(
        "--output", "-o", metavar="FILE", help="Default: Dockerfile.lock beside the Dockerfile.", completes="file"
    )
    check: bool = option("--check", help="Write nothing; end with 1 if the lock file is out of date.")
    policy: Path | None = option(
        "--policy", metavar="FILE", help="Also write the pins as a BuildKit source policy (JSON).", completes="file"
    )
    json: bool = option("--json", help="Print what was written, or what --check found, as JSON.")
    target: str = shared.TARGET
    build_arg: tuple[str, ...] = shared.BUILD_ARG
    platform: tuple[str, ...] = shared.PLATFORM
    build_context: tuple[str, ...] = shared.BUILD_CONTEXT
    opt: tuple[str, ...] = shared.OPT
    store: Path | None = shared.STORE
    examples = ("dockc lock", "dockc lock --check .", "dockc build --locked Dockerfile.lock .")


def run(options: LockOptions, out: Output) -> int:
    """`dockc lock`."""
    from dockc.commands.attrs import frontend_attrs, named_contexts

    attrs = frontend_attrs(
        target=options.target, build_args=options.build_arg, platforms=options.platform, opts=options.opt
    )
    contexts = named_contexts(options.build_context)
    request = CompileRequest(options.context, options.file, attrs=attrs, contexts=contexts, store=options.store)
    return lock_command(
        request,
        output=options.output,
        check=options.check,
        policy=options.policy,
        log=out.log,
        as_json=out.write if options.json else None,
    )


def lock_command(
    request: CompileRequest,
    *,
    output: Path | None,
    check: bool,
    policy: Path | None,
    log: Callable[[str], object],
    as_json: Callable[[str], object] | None = None,
) -> int:
    """Compile, and write or compare what was answered.

    Args:
        request: which file.
        output: the lock file; None is the Dockerfile's.
        check: write nothing.
        policy: a source policy to write.
        log: takes a sentence of what came of it.
        as_json: takes the same as JSON, in the sentence's place.

    Returns:
        0, or 1 when `check` finds the file out of date.

    Raises:
        DockcError: the file does not compile, or something cannot be found out.
    """
    path = output or _default_path(request)
    answers = find_out(request, log)
    if check:
        try:
            text = read_regular(path, FILE_LIMIT).decode()
        except OSError as exc:
            raise UsageError(f"cannot read {path}: {exc.strerror}", hint="Make it with `dockc lock`.") from exc
        except UnicodeDecodeError as exc:
            raise UsageError(f"cannot read {path}: not UTF-8 text") from exc
        changes = differences(Answers.load(text, str(path)), answers)
        if as_json is not None:
            as_json(json.dumps({"file": str(path), "current": not changes, "changes": changes}) + "\n")
        elif changes:
            log(f"{path} is out of date\n" + "".join(f"  {change}\n" for change in changes))
        return 1 if changes else 0
    _write(path, answers.dump())
    if as_json is not None:
        as_json(json.dumps({"file": str(path), "pins": pins(answers)}) + "\n")
    else:
        found = (len(answers.images), "image"), (len(answers.git), "git commit"), (len(answers.http), "download")
        log(f"{path}: {', '.join(counted(number, word) for number, word in found)}\n")
    if policy is not None:
        _write(policy, json.dumps(source_policy(answers), indent=1) + "\n")
    return 0


def _default_path(request: CompileRequest) -> Path:
    dockerfile = dockerfile_path(request)
    if dockerfile is None:
        raise UsageError("a Dockerfile from standard input needs --output for its lock file")
    return Path(f"{dockerfile}.lock")


def _write(path: Path, text: str) -> None:
    target = path.resolve()  # a link stays one
    temporary = target.with_name(f".{target.name}.new")
    try:
        temporary.write_text(text, "utf-8")
        temporary.replace(target)
    except OSError as exc:
        raise UsageError(f"cannot write {path}: {exc.strerror}") from exc
