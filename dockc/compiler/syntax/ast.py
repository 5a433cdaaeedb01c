"""The abstract syntax tree of a Dockerfile: one frozen class per instruction, on one page.

Values are kept as written: variables are not expanded, quotes and escapes not removed. Every class carries
what the reference's parser and instruction phases know, so that lowering, lint and outline need no second look
at the text. Line numbers count from 1 and include the bodies of heredocs.
"""

from __future__ import annotations

from types import MappingProxyType

from dockc.base.record import NamedTuple, Record
from dockc.grammar.source import Source, Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Word(NamedTuple):
    """Text as written and its place. After a line continuation the place covers the continuation too."""

    text: str
    span: Span


class Flag(NamedTuple):
    """A `--name[=value]` before the arguments, in the order written.

    Attributes:
        text: the whole flag after removal of quotes and escapes, `--name=value`.
        name: between `--` and `=`.
        value: after `=`; None without `=`.
        span: the flag in the source.
        value_span: the value in the source (approximate where quotes were removed); None without `=`.
    """

    text: str
    name: str
    value: str | None
    span: Span
    value_span: Span | None


class Heredoc(Record):
    """A heredoc body of RUN, COPY, ADD or their ONBUILD forms.

    Attributes:
        name: the delimiter, quotes removed.
        content: the lines between, line ends included, tabs not yet stripped.
        chomp: `<<-`: leading tabs of each line are to be stripped.
        expand: the delimiter was not quoted, so variables in the body are meant to be expanded.
        fd: the file descriptor before `<<`; 0 if none.
        span: the body, without the line of the delimiter.
    """

    name: str
    content: str
    chomp: bool
    expand: bool
    fd: int
    span: Span


class Instruction(Record, kw_only=True):
    """What all instructions share.

    Attributes:
        name: the keyword as written (`run`, `RUN`).
        name_span: its place.
        code: the logical line, continuations and comments removed, surrounding space stripped.
        lines: first and last physical line, heredocs included.
        span: from the keyword to the end of the logical line or of the last heredoc.
        comments: texts of the comment lines directly above, `#` and space removed, directives left out.
        flags: as written, in order.
        args: arguments as this instruction's own rules split them (ENV and LABEL: key, value, delimiter).
        heredocs: bodies in the order of their openers.
    """

    name: str
    name_span: Span
    code: str
    lines: tuple[int, int]
    span: Span
    comments: tuple[str, ...] = ()
    flags: tuple[Flag, ...] = ()
    args: tuple[Word, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()

    @property
    def keyword(self) -> str:
        """The keyword in upper case."""
        return self.name.upper()

    @property
    def words(self) -> Word:
        """The instruction as words, without the bodies of its heredocs; the text is not kept."""
        start, end = self.span
        if self.heredocs:
            end = max(start + 1, min(one.span.start for one in self.heredocs) - 1)
        return Word("", Span(start, end))

    def flag(self, name: str) -> Flag | None:
        """The last use of a flag, or None."""
        for flag in reversed(self.flags):
            if flag.name == name:
                return flag
        return None


class KeyValue(NamedTuple):
    """A pair of ENV or LABEL. `no_delim`: the legacy form `KEY value`, without `=`."""

    key: Word
    value: Word
    no_delim: bool = False


class ArgPair(NamedTuple):
    """A declaration of ARG.

    Attributes:
        value: None for `ARG NAME`.
        doc_comment: the text after the name in a comment above, or "".
    """

    key: Word
    value: Word | None
    doc_comment: str = ""


class InlineFile(NamedTuple):
    """A heredoc as RUN takes it: `data` is the body, tabs not yet stripped."""

    name: str
    data: str
    chomp: bool
    expand: bool
    span: Span


class SourceContent(NamedTuple):
    """A heredoc as COPY and ADD take it: file `path` with `data`, tabs already stripped for `<<-`."""

    path: str
    data: str
    expand: bool
    span: Span


class Device(NamedTuple):
    """A `RUN --device` request."""

    name: str
    required: bool = False


class From(Instruction, kw_only=True):
    """`FROM [--platform=P] base [AS name]`. `stage_name` is lower case, "" without AS."""

    base: Word
    platform: Word
    stage_name: str = ""
    stage_name_word: Word | None = None
    as_word: Word | None = None
    doc_comment: str = ""


class Arg(Instruction, kw_only=True):
    """`ARG name[=value] ...`."""

    pairs: tuple[ArgPair, ...]


class Env(Instruction, kw_only=True):
    """`ENV key=value ...` or `ENV key value`."""

    pairs: tuple[KeyValue, ...]


class Label(Instruction, kw_only=True):
    """`LABEL key=value ...` or `LABEL key value`."""

    pairs: tuple[KeyValue, ...]


class ShellDependent(Instruction, kw_only=True):
    """Instructions with a command line in shell or exec (JSON) form.

    Attributes:
        cmdline: the exec form's words, or the one string of the shell form; None for an empty ENTRYPOINT.
        prepend_shell: True for the shell form.
    """

    cmdline: tuple[str, ...] | None
    prepend_shell: bool


class Run(ShellDependent, kw_only=True):
    """`RUN [flags] command`.

    Attributes:
        files: heredoc bodies.
        flags_used: names of the flags that were given, each once, in order of first use.
        mounts: raw values of `--mount`, to be parsed by `dockc.compiler.syntax.mounts.parse_mount` with an expander.
        network: `default`, `none` or `host`.
        security: `sandbox` or `insecure`.
        devices: parsed values of `--device`.
    """

    files: tuple[InlineFile, ...] = ()
    flags_used: tuple[str, ...] = ()
    mounts: tuple[Word, ...] = ()
    network: str = "default"
    security: str = "sandbox"
    devices: tuple[Device, ...] = ()


class Cmd(ShellDependent, kw_only=True):
    """`CMD command`."""


class Entrypoint(ShellDependent, kw_only=True):
    """`ENTRYPOINT command`."""


class SourcesAndDest(Instruction, kw_only=True):
    """What COPY and ADD share.

    Attributes:
        sources: source paths, heredoc openers left out.
        contents: heredoc files.
        dest: destination path.
        chown, chmod: flag values, "" where not given.
        link: `--link`.
        excludes: values of `--exclude`.
    """

    sources: tuple[Word, ...]
    contents: tuple[SourceContent, ...]
    dest: Word
    chown: Word
    chmod: Word
    link: bool = False
    excludes: tuple[Word, ...] = ()


class Copy(SourcesAndDest, kw_only=True):
    """`COPY [flags] source... dest`. `from_` is "" without `--from`."""

    from_: Word
    parents: bool = False


class Add(SourcesAndDest, kw_only=True):
    """`ADD [flags] source... dest`. `keep_git_dir` and `unpack` are None where the flag was not given."""

    checksum: Word
    keep_git_dir: bool | None = None
    unpack: bool | None = None


class Expose(Instruction, kw_only=True):
    """`EXPOSE port...`; `ports` are sorted by their bytes, as the reference has them."""

    ports: tuple[Word, ...]


class Healthcheck(Instruction, kw_only=True):
    """`HEALTHCHECK NONE` or `HEALTHCHECK [flags] CMD command`.

    Attributes:
        test: `("NONE",)`, `("CMD", ...)` or `("CMD-SHELL", text)`.
        interval, timeout, start_period, start_interval: nanoseconds, 0 where not given.
        retries: 0 where not given.
    """

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Maintainer(Instruction, kw_only=True):
    """`MAINTAINER text` (deprecated)."""

    maintainer: Word


class Onbuild(Instruction, kw_only=True):
    """`ONBUILD instruction`.

    Attributes:
        expression: the trigger as it is stored in the image config.
        trigger: the trigger instruction read on its own, or None where only a later build will find it wrong.
    """

    expression: str
    trigger: Instruction | None = None


class Shell(Instruction, kw_only=True):
    """`SHELL ["program", "arg"...]`."""

    shell: tuple[str, ...]


class Stopsignal(Instruction, kw_only=True):
    """`STOPSIGNAL signal`."""

    signal: Word


class User(Instruction, kw_only=True):
    """`USER user[:group]`."""

    user: Word


class Volume(Instruction, kw_only=True):
    """`VOLUME path...`, each path stripped of surrounding space."""

    volumes: tuple[Word, ...]


class Workdir(Instruction, kw_only=True):
    """`WORKDIR path`."""

    path: Word


class Stage(Record, kw_only=True):
    """A build stage: a FROM and the instructions up to the next one.

    Attributes:
        name: lower case, "" without AS.
        base: the base as written, variables not expanded.
        platform: value of `--platform`, text "" where not given.
        orig_cmd: the FROM keyword as written.
        code, lines, span, comments, doc_comment: of the FROM instruction.
        from_: the FROM instruction itself.
        instructions: the others, in order.
    """

    name: str
    base: Word
    platform: Word
    orig_cmd: str
    code: str
    lines: tuple[int, int]
    span: Span
    comments: tuple[str, ...]
    doc_comment: str
    from_: From
    instructions: tuple[Instruction, ...] = ()


class Directive(NamedTuple):
    """A parser directive `# name=value` at the top of a file.

    Attributes:
        name: lower case: `syntax`, `escape` or `check`.
        value: as written, surrounding space removed.
        line: 1-based.
        span: the whole comment.
    """

    name: str
    value: str
    line: int
    span: Span


class LintFact(NamedTuple):
    """A lint fact that the parser or instruction phase finds, in emission order.

    Attributes:
        rule: the rule's name, such as `NoEmptyContinuation`.
        message: the exact text.
        lines: first and last line that it is reported for.
        comments: comment lines above the instruction; the caller honours a `check=skip=...` among them.
            Empty for a rule that does not look at them.
    """

    rule: str
    message: str
    lines: tuple[int, int]
    comments: tuple[str, ...] = ()


class Dockerfile(Record, kw_only=True):
    """A whole file.

    Attributes:
        source: where it came from.
        escape: the escape character, backslash or backtick.
        directives: by name.
        meta_args: ARG instructions before the first FROM.
        stages: in order.
        warnings: lint facts of parser and instruction phase, in emission order.
    """

    source: Source
    escape: str
    directives: Mapping[str, Directive] = MappingProxyType({})
    meta_args: tuple[Arg, ...] = ()
    stages: tuple[Stage, ...] = ()
    warnings: tuple[LintFact, ...] = ()


#: Keyword in upper case to class; also the list of known instructions.
CLASSES: Mapping[str, type[Instruction]] = MappingProxyType(
    {
        "ADD": Add,
        "ARG": Arg,
        "CMD": Cmd,
        "COPY": Copy,
        "ENTRYPOINT": Entrypoint,
        "ENV": Env,
        "EXPOSE": Expose,
        "FROM": From,
        "HEALTHCHECK": Healthcheck,
        "LABEL": Label,
        "MAINTAINER": Maintainer,
        "ONBUILD": Onbuild,
        "RUN": Run,
        "SHELL": Shell,
        "STOPSIGNAL": Stopsignal,
        "USER": User,
        "VOLUME": Volume,
        "WORKDIR": Workdir,
    }
)
