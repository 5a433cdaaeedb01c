"""ARG, ENV, WORKDIR, USER, SHELL: what a later process sees."""

from __future__ import annotations

from dockc.compiler.ir.module import parse_owner
from dockc.compiler.ir.ops import Mkdir, OpMeta
from dockc.compiler.lower.names import command_text, step_name
from dockc.compiler.lower.scope import NOT_IN_ENVIRONMENT, assign
from dockc.compiler.notes import ArgInfo
from dockc.errors import CompileError, Fault
from dockc.golang import ospaths as paths
from dockc.golang.strings import fold
from dockc.golang.text import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.compiler.checks import Linter
    from dockc.compiler.lower.context import Lowering
    from dockc.compiler.lower.stages import StageState, Step
    from dockc.compiler.lower.words import Expander
    from dockc.compiler.syntax.ast import Arg, ArgPair, Env, Shell, User, Word, Workdir

_SECRET_WORDS = frozenset(
    ("apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token")
)
_HARMLESS_WORDS = frozenset(("public", "file", "version"))


def lower_arg(state: Lowering, stage: StageState, step: Step, arg: Arg, expand: Expander) -> None:
    """`ARG`: declare, take the value from the options, the file's own ARGs or the default."""
    shown = []
    for pair in arg.pairs:
        key = pair.key.text
        report_secret("ARG", key, step, expand.linter)
        value, inherited = _arg_value(state, pair, expand)
        if value is not None:
            if key in NOT_IN_ENVIRONMENT:
                stage.scan_args[key] = value
            else:
                assign(stage.env, key, value)
        if not inherited:
            stage.outline.args[key] = ArgInfo(key, value or "", pair.doc_comment, set(), step.lines)
        stage.outline.used[key] = None
        stage.build_args[key] = value
        shown.append(key if value is None else f"{key}={value}")
    stage.image.commit(f"ARG {' '.join(shown)}", state.created, layer=False)


def _arg_value(state: Lowering, pair: ArgPair, expand: Expander) -> tuple[str | None, bool]:
    """The value, and whether it comes from an ARG before the first FROM."""
    key = pair.key.text
    if key in state.build_args:
        return state.build_args[key], False
    if pair.value is not None:
        return expand(pair.value), False
    if key in state.meta_args:
        return state.meta_args[key], True
    return None, False


def report_secret(instruction: str, key: str, step: Step, linter: Linter) -> None:
    """Note a variable whose name says that its value must not be kept in an image."""
    words = fold(key).split("_")
    if not _SECRET_WORDS.isdisjoint(words) and _HARMLESS_WORDS.isdisjoint(words):
        message = f"Do not use ARG or ENV instructions for sensitive data ({instruction} {quote(key)})"
        linter.report("SecretsUsedInArgOrEnv", message, step.lines)


def report_legacy_pair(name: str, step: Step, linter: Linter) -> None:
    """Note a pair written `KEY value`."""
    message = f'"{name} key=value" should be used instead of legacy "{name} key value" format'
    linter.report("LegacyKeyValueFormat", message, step.lines)


def lower_env(state: Lowering, stage: StageState, step: Step, env: Env, expand: Expander) -> None:
    """`ENV`: all values are expanded before the first one is set."""
    pairs = [(expand(pair.key), expand(pair.value), pair.no_delim) for pair in env.pairs]
    shown = ["ENV"]
    for key, value, legacy in pairs:
        if legacy:
            report_legacy_pair(env.name, step, expand.linter)
        report_secret("ENV", key, step, expand.linter)
        shown.append(f"{key}={value}")
        assign(stage.env, key, value)
        stage.image.set_env(key, value)
    stage.image.commit(" ".join(shown), state.created, layer=False)


def lower_workdir(state: Lowering, stage: StageState, step: Step, workdir: Workdir, expand: Expander) -> None:
    """`WORKDIR`: change to a directory, and make it."""
    path = expand(workdir.path)
    system = stage.system
    if not stage.workdir_set and not paths.is_absolute(path, system):
        message = f"Relative workdir {quote(path)} can have unexpected results if the base image changes"
        expand.linter.report("WorkdirRelativePath", message, step.lines)
    stage.workdir_set = True
    set_directory(stage, path, workdir.path)
    directory = stage.directory
    made = directory != "/"
    if made:
        user = stage.image.user
        action = Mkdir(
            paths.clean(directory),
            0o755,
            parents=True,
            owner=parse_owner(user) if user else None,
            timestamp=state.timestamp,
        )
        text = command_text(workdir.code, state.lex, stage.env)
        name = step_name(state, stage, text, stage.platform or state.target, stage.env)
        meta = OpMeta(name, locations=state.locations(step.lines))
        stage.value = state.builder.file(stage.value, (action,), meta=meta)
    stage.image.commit(f"WORKDIR {directory}", state.created, layer=made)


def set_directory(stage: StageState, path: str, word: Word | None = None) -> None:
    """Change the working directory of processes and of the image to what `word` says, or the base image.

    Raises:
        CompileError: a Windows path that is not on the system drive.
    """
    try:
        directory = paths.workdir(stage.image.working_dir, path, stage.system)
    except paths.WrongPath as error:
        raise CompileError(f"normalizing workdir: {error.message}", fault=Fault("bad-path", word)) from None
    stage.image.working_dir = directory
    stage.directory = paths.to_slash(directory, stage.system)


def lower_user(state: Lowering, stage: StageState, step: Step, user: User, expand: Expander) -> None:
    """`USER`: who later processes run as."""
    name = expand(user.user)
    set_user(stage, name)
    stage.image.commit(f"USER {name}", state.created, layer=False)


def set_user(stage: StageState, name: str) -> None:
    """Change the user of processes and of the image."""
    stage.user = name
    stage.image.user = name


def lower_shell(state: Lowering, stage: StageState, step: Step, shell: Shell, expand: Expander) -> None:
    """`SHELL`: what shell forms are run with."""
    stage.image.shell = list(shell.shell)
    stage.image.commit(f"SHELL [{' '.join(shell.shell)}]", state.created, layer=False)
