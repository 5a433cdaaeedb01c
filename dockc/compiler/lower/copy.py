"""COPY and ADD: files of the context, of other stages, of URLs and repositories, and heredocs."""

from __future__ import annotations

from dockc.base.pattern import pattern
from dockc.compiler.ir.module import ProgressGroup, parse_owner
from dockc.compiler.ir.ops import Copy, Mkfile, OpMeta
from dockc.compiler.lower.context import command_meta, internal_name
from dockc.compiler.lower.contexts import git_value
from dockc.compiler.lower.names import command_text, same_step_name, step_name
from dockc.compiler.lower.words import Expander
from dockc.compiler.syntax.ast import Add, Word
from dockc.compiler.syntax.ast import Copy as CopyInstruction
from dockc.errors import CompileError, DockcError, Fault, without_credentials
from dockc.golang import ospaths as paths
from dockc.golang import paths as llb_paths
from dockc.golang.numbers import NumberError, parse_uint
from dockc.golang.text import quote
from dockc.grammar.source import encode
from dockc.llb import caps as C  # noqa: N812
from dockc.llb import sources as llb_sources
from dockc.oci import digest as digests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.compiler.ir.ops import FileAction, Value
    from dockc.compiler.lower.context import Lowering
    from dockc.compiler.lower.stages import StageState, Step
    from dockc.compiler.syntax.ast import SourcesAndDest
    from dockc.compiler.urls import GitRef

_SYMBOLIC_MODE = pattern(r"[augo]*(?:[-+=][rstwXxugo]*)+(?:,[augo]*(?:[-+=][rstwXxugo]*)+)*")
_HIGHEST_MODE = 0o7777
_SHORTEST_TOKEN = 8
_EVERYTHING = ("*", "**", "**/*")


class _Job:
    """One COPY or ADD with its words expanded."""

    __slots__ = (
        "checksum",
        "checksum_word",
        "chmod",
        "chown",
        "dest",
        "expand",
        "instruction",
        "is_add",
        "keep_git_dir",
        "mode",
        "mode_str",
        "name",
        "parents",
        "source",
        "stage",
        "state",
        "step",
        "target",
        "unpack",
        "uses_context",
    )

    def __init__(
        self, state: Lowering, stage: StageState, step: Step, instruction: SourcesAndDest, expand: Expander
    ) -> None:
        self.state = state
        self.stage = stage
        self.step = step
        self.instruction = instruction
        self.expand = expand
        self.is_add = isinstance(instruction, Add)
        self.parents = isinstance(instruction, CopyInstruction) and instruction.parents
        self.keep_git_dir = instruction.keep_git_dir if isinstance(instruction, Add) else None
        self.unpack = instruction.unpack if isinstance(instruction, Add) else None
        self.checksum = ""
        self.checksum_word = instruction.checksum if isinstance(instruction, Add) else None
        self.chown = self.chmod = self.dest = self.target = self.name = self.mode_str = ""
        self.mode = -1
        self.source: Value | None = state.context
        self.uses_context = True


def lower_copy(state: Lowering, stage: StageState, step: Step, copy: CopyInstruction, expand: Expander) -> None:
    """`COPY`: from the context, a stage or an image."""
    job = _Job(state, stage, step, copy, expand)
    sources, contents = _expand_words(job)
    if step.sources:
        source = step.sources[0]
        if not source.dispatched:
            raise CompileError(
                f"cannot copy from stage {quote(copy.from_.text)}, it needs to be defined before current stage "
                f"{quote(stage.shown_name)}",
                fault=Fault("later-stage/copy", copy.from_),
            )
        job.source, job.uses_context = source.value, False
        used = source.used_paths
    else:
        used = stage.context_paths
    _lower(job, sources, contents)
    used.update(paths.join("/", path) for path in sources)


def lower_add(state: Lowering, stage: StageState, step: Step, add: Add, expand: Expander) -> None:
    """`ADD`: from the context, a URL or a git repository."""
    job = _Job(state, stage, step, add, expand)
    sources, contents = _expand_words(job)
    _lower(job, sources, contents)
    stage.context_paths.update(
        paths.join("/", path) for path in sources if not path.startswith(("http://", "https://"))
    )


def _expand_words(job: _Job) -> tuple[list[str], list[tuple[str, str]]]:
    """Expand everything in the reference's order; returns the sources and the heredocs."""
    instruction, expand = job.instruction, job.expand
    job.chown = expand(instruction.chown)
    job.chmod = expand(instruction.chmod)
    if isinstance(instruction, Add):
        job.checksum = expand(instruction.checksum)
    sources = expand.each(instruction.sources)
    job.dest = expand(instruction.dest)
    raw = Expander(job.state.heredoc_lex, job.stage, job.step, expand.linter)
    contents = [
        (content.path, raw(Word(content.data, content.span)) if content.expand else content.data)
        for content in instruction.contents
    ]
    return sources, contents


def _lower(job: _Job, sources: list[str], contents: list[tuple[str, str]]) -> None:
    """Add the operation and the history entry."""
    state, stage, instruction = job.state, job.stage, job.instruction
    job.target = _target(job)
    job.mode, job.mode_str = parse_mode(job.chmod, instruction.chmod)
    _check_checksum(job, sources)
    text = command_text(instruction.code, state.lex, stage.env)
    platform = stage.platform or state.target
    job.name = step_name(state, stage, text, platform, stage.env)
    actions: list[FileAction] = [
        _action(job, source, word) for source, word in zip(sources, instruction.sources, strict=True)
    ]
    actions += [_heredoc(job, path, data) for path, data in contents]
    locations = state.locations(job.step.lines)
    builder = state.builder
    if instruction.link and not job.chmod and C.MERGE_OP in state.options.caps:
        state.groups += 1
        group = str(state.groups)
        added = builder.file(
            None,
            actions,
            meta=OpMeta(
                job.name,
                locations=locations,
                ignore_cache=stage.ignore_cache,
                progress_group=ProgressGroup(group, job.name, weak=True),
            ),
        )
        stage.value = builder.merge(
            (stage.value, added),
            meta=OpMeta(
                same_step_name(state, stage, f"LINK {text}", platform, stage.env),
                locations=locations,
                ignore_cache=stage.ignore_cache,
                progress_group=ProgressGroup(group, job.name, weak=False),
            ),
        )
    else:
        meta = OpMeta(job.name, locations=locations, ignore_cache=stage.ignore_cache)
        stage.value = builder.file(stage.value, actions, meta=meta)
    # An image goes to others: what a URL carries to log in stays here. What is too short for a token is the
    # reference's.
    history = without_credentials(_history(job, sources, contents), shortest=_SHORTEST_TOKEN)
    stage.image.commit(f"{history} # buildkit", state.created, layer=True)


def _history(job: _Job, sources: list[str], contents: list[tuple[str, str]]) -> str:
    words = ["ADD" if job.is_add else "COPY"]
    if job.parents:
        words.append("--parents")
    if job.chown:
        words.append(f"--chown={job.chown}")
    if job.chmod:
        words.append(f"--chmod={job.chmod}")
    words += sources
    words += [f"<<{path}" for path, _ in contents]
    words.append(job.dest)
    return " ".join(words)


def _target(job: _Job) -> str:
    """The destination, absolute; an end of `/` or `/.` is kept."""
    system = job.stage.system
    fault = Fault("bad-path", job.instruction.dest)
    try:
        path = paths.without_drive(job.dest, system, keep_slash=True)
    except paths.WrongPath as error:
        raise CompileError(f"removing drive letter: {error.message}", fault=fault) from None
    try:
        if paths.is_absolute(path, system):
            path = paths.normalize("/", path, system, keep_slash=True)
        else:
            # "" and "." mean the working directory itself, so they end in a slash.
            path = "./" if path in ("", ".") else path
            path = paths.normalize(job.stage.directory, path, system, keep_slash=True)
    except paths.WrongPath as error:
        raise CompileError(error.message, fault=fault) from None
    return llb_paths.normalize("/", path, keep_slash=True)


def parse_mode(text: str, word: Word) -> tuple[int, str]:
    """A `--chmod` value, which `word` gave, as a number, or as symbolic text (then the number is -1); "" is neither.

    Raises:
        CompileError: neither an octal number up to 7777 nor a symbolic mode.
    """
    if not text:
        return -1, ""
    message = f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
    wrong = CompileError(message, fault=Fault("bad-mode", word))
    try:
        mode = parse_uint(text, base=8, bits=32)
    except NumberError:
        if "0" <= text[0] <= "9":
            raise wrong from None
        if _SYMBOLIC_MODE.fullmatch(text) is None:
            raise CompileError("invalid syntax", fault=Fault("bad-mode", word)) from None
        return -1, text
    if mode > _HIGHEST_MODE:
        raise wrong
    return mode, ""


def _check_checksum(job: _Job, sources: list[str]) -> None:
    if not job.checksum:
        return
    if len(sources) != 1:
        fault = Fault("bad-checksum/many", job.checksum_word)
        raise CompileError("checksum can't be specified for multiple sources", fault=fault)
    from dockc.compiler.urls import is_git, is_http

    if not is_http(sources[0]) and not is_git(sources[0]):
        fault = Fault("bad-checksum/local", job.checksum_word)
        raise CompileError("checksum requires HTTP(S) or Git sources", fault=fault)


# --- sources ------------------------------------------------------------------------------------------


def _action(job: _Job, source: str, word: Word) -> Copy:
    if ":" not in source and not source.startswith("github.com/"):
        return _path_copy(job, source, word)
    from dockc.compiler.urls import http_filename, is_http, parse_git_ref

    try:
        git = parse_git_ref(source)
    except CompileError as error:
        error.fault = error.fault.at(word)
        raise
    if git is not None and not git.local_looking:
        if not job.is_add:
            raise CompileError("source can't be a git ref for COPY", fault=Fault("remote-copy/git", word))
        return _simple_copy(job, _git_source(job, git), "/")
    if is_http(source):
        if not job.is_add:
            raise CompileError("source can't be a URL for COPY", fault=Fault("remote-copy/url", word))
        name = http_filename(source)
        value = _http_source(job, source, name)
        return _simple_copy(job, value, paths.join("/", name), unpack=bool(job.unpack))
    return _path_copy(job, source, word)


def _simple_copy(job: _Job, value: Value | None, path: str, *, unpack: bool = False) -> Copy:
    """A copy of exactly this path."""
    return Copy(
        value,
        path,
        job.target,
        owner=parse_owner(job.chown) if job.chown else None,
        mode=job.mode,
        mode_str=job.mode_str,
        unpack=unpack,
        create_dest=True,
        exclude=_excludes(job),
    )


def _excludes(job: _Job) -> tuple[str, ...]:
    return tuple(word.text for word in job.instruction.excludes)


def _git_source(job: _Job, git: GitRef) -> Value:
    if job.keep_git_dir is not None and git.keep_git_dir is not None and job.keep_git_dir != git.keep_git_dir:
        flag = job.instruction.flag("keep-git-dir")
        place = flag and Word(flag.text, flag.value_span or flag.span)
        raise CompileError("inconsistent keep-git-dir configuration", fault=Fault("git-conflict", place))
    if git.keep_git_dir is not None:
        job.keep_git_dir = git.keep_git_dir
    if job.checksum and git.checksum and job.checksum != git.checksum:
        message = f"checksum mismatch {quote(job.checksum)} != {quote(git.checksum)}"
        raise CompileError(message, fault=Fault("bad-checksum/mismatch", job.checksum_word))
    if git.checksum:
        job.checksum = git.checksum
    return git_value(
        job.state.builder,
        git,
        meta=OpMeta(job.name),
        keep_git_dir=bool(job.keep_git_dir),
        checksum=job.checksum,
        fetch_by_commit=git.fetch_by_commit,
    )


def _http_source(job: _Job, url: str, filename: str) -> Value:
    checksum = ""
    if job.checksum:
        try:
            checksum = digests.validate(job.checksum)
        except DockcError as error:
            raise CompileError(error.message, fault=Fault("bad-checksum/digest", job.checksum_word)) from None
    spec = llb_sources.http(url, filename=filename, checksum=checksum)
    return job.state.builder.source(spec, meta=OpMeta(job.name, description=command_meta("")))


def _path_copy(job: _Job, source: str, word: Word) -> Copy:
    """A copy of what a path or pattern names in the context, a stage or an image."""
    system = job.stage.system
    _report_ignored(job, source)
    patterns: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    if job.parents:
        source, patterns, required = _parents(source, system, word)
    path = _without_drive(source, system, word)
    return Copy(
        job.source,
        paths.join("/", paths.clean(path)),
        job.target,
        owner=parse_owner(job.chown) if job.chown else None,
        mode=job.mode,
        mode_str=job.mode_str,
        follow_symlinks=True,
        dir_contents=True,
        unpack=job.is_add if job.unpack is None else job.unpack,
        create_dest=True,
        wildcard=True,
        empty_wildcard=True,
        include=patterns,
        exclude=_excludes(job),
        required=required,
    )


def _parents(source: str, system: str, word: Word) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """`--parents a/./b/*`: copy from `a` what matches `b/*`, with the directories of the pattern.

    A path without wildcards has to exist.
    """
    from dockc.grammar.globs import contains_wildcards

    base, pivot, pattern = source.partition("/./")
    if not pivot:
        base, pattern = "/", source
    pattern = _without_drive(pattern, system, word)
    required: tuple[str, ...] = ()
    if not contains_wildcards(base) and not contains_wildcards(pattern):
        required = (_without_drive(paths.join(base, pattern), system, word),)
    return base, (pattern.removeprefix("/"),), required


def _without_drive(path: str, system: str, word: Word) -> str:
    try:
        return paths.normalize("/", path, system, keep_slash=False)
    except paths.WrongPath as error:
        raise CompileError(f"removing drive letter: {error.message}", fault=Fault("bad-path", word)) from None


def _heredoc(job: _Job, path: str, data: str) -> Copy:
    """A file whose content stands in the Dockerfile."""
    try:
        name = paths.without_drive(path, job.stage.system, keep_slash=False)
    except paths.WrongPath as error:
        fault = Fault("bad-path", job.instruction.words)
        raise CompileError(f"removing drive letter: {error.message}", fault=fault) from None
    action = Mkfile(paths.join("/", name), 0o644, encode(data))
    meta = OpMeta(internal_name("preparing inline document"))
    value = job.state.builder.file(None, (action,), meta=meta)
    return _simple_copy(job, value, paths.join("/", paths.clean(paths.to_slash(name, job.stage.system))))


# --- checks -------------------------------------------------------------------------------------------


def _report_ignored(job: _Job, source: str) -> None:
    """Note a path that .dockerignore keeps out. A file with exceptions is too hard to judge."""
    matcher = job.state.ignore
    if matcher is None or not job.uses_context or matcher.exclusions:
        return
    path = paths.clean(source)
    if path in (".", "/") and not any(pattern.text in _EVERYTHING for pattern in matcher.patterns):
        return
    try:
        if not matcher.matches(path):
            return
    except DockcError:
        return
    verb = "Add" if job.is_add else "Copy"
    message = f"Attempting to {verb} file {quote(path)} that is excluded by .dockerignore"
    job.expand.linter.report("CopyIgnoredFile", message, job.step.lines)
