"""BuildKit's own checks: their texts, which of them are on, and the order in which they speak.

The findings themselves come up while a file is read and lowered; here is what they say and whether it is heard.
Source: https://docs.docker.com/reference/build-checks/.
"""

from __future__ import annotations

from dockc.base.pattern import pattern
from dockc.compiler.syntax.ast import Word
from dockc.errors import CompileError, Fault
from dockc.golang.numbers import NumberError, parse_bool
from dockc.golang.text import quote
from dockc.grammar.source import Span

#: The lines of what stands nowhere in the file.
NOWHERE = (0, -1)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

_DIRECTIVE = pattern(r"([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*([^\n]+?)[\t\n\f\r ]*")
_BOM = "\ufeff"
_KNOWN_DIRECTIVES = frozenset(("syntax", "escape", "check"))
_URL = "https://docs.docker.com/go/dockerfile/rule/"
_MAX_LINE = 64 * 1024


class Rule:
    """One check.

    Attributes:
        name: the name in `# check=skip=NAME`.
        description: one sentence about the rule.
        url: its page, "" where the reference has none.
        experimental: off unless asked for.
    """

    __slots__ = ("description", "experimental", "name", "url")

    def __init__(self, name: str, page: str, description: str, *, experimental: bool = False) -> None:
        self.name: Final = name
        self.description: Final = description
        self.url: Final = f"{_URL}{page}/" if page else ""
        self.experimental: Final = experimental


_TABLE = (
    Rule("StageNameCasing", "stage-name-casing", "Stage names should be lowercase"),
    Rule("FromAsCasing", "from-as-casing", "The 'as' keyword should match the case of the 'from' keyword"),
    Rule(
        "NoEmptyContinuation",
        "no-empty-continuation",
        "Empty continuation lines will become errors in a future release",
    ),
    Rule(
        "ConsistentInstructionCasing",
        "consistent-instruction-casing",
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
    ),
    Rule("DuplicateStageName", "duplicate-stage-name", "Stage names should be unique"),
    Rule("ReservedStageName", "reserved-stage-name", "Reserved words should not be used as stage names"),
    Rule(
        "JSONArgsRecommended",
        "json-args-recommended",
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    ),
    Rule(
        "MaintainerDeprecated",
        "maintainer-deprecated",
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    ),
    Rule("UndefinedArgInFrom", "undefined-arg-in-from", "FROM command must use declared ARGs"),
    Rule(
        "WorkdirRelativePath",
        "workdir-relative-path",
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if "
        "the base image changes",
    ),
    Rule("UndefinedVar", "undefined-var", "Variables should be defined before their use"),
    Rule(
        "MultipleInstructionsDisallowed",
        "multiple-instructions-disallowed",
        "Multiple instructions of the same type should not be used in the same stage",
    ),
    Rule(
        "LegacyKeyValueFormat",
        "legacy-key-value-format",
        "Legacy key/value format with whitespace separator should not be used",
    ),
    Rule("InvalidBaseImagePlatform", "", "Base image platform does not match expected target platform"),
    Rule(
        "RedundantTargetPlatform",
        "redundant-target-platform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    ),
    Rule(
        "SecretsUsedInArgOrEnv",
        "secrets-used-in-arg-or-env",
        "Sensitive data should not be used in the ARG or ENV commands",
    ),
    Rule(
        "InvalidDefaultArgInFrom",
        "invalid-default-arg-in-from",
        "Default value for global ARG results in an empty or invalid base image name",
    ),
    Rule(
        "FromPlatformFlagConstDisallowed",
        "from-platform-flag-const-disallowed",
        "FROM --platform flag should not use a constant value",
    ),
    Rule(
        "CopyIgnoredFile",
        "copy-ignored-file",
        "Attempting to Copy file that is excluded by .dockerignore",
    ),
    Rule(
        "InvalidDefinitionDescription",
        "invalid-definition-description",
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this "
        "is not intended to be a description comment, add an empty line or comment between the instruction and the "
        "comment.",
        experimental=True,
    ),
    Rule("ExposeProtoCasing", "expose-proto-casing", "Protocol in EXPOSE instruction should be lowercase"),
    Rule(
        "ExposeInvalidFormat",
        "expose-invalid-format",
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a "
        "future release",
    ),
)

RULES: dict[str, Rule] = {rule.name: rule for rule in _TABLE}
"""All checks by name."""


class Warning:  # noqa: A001 - the word of the interface
    """One finding.

    Attributes:
        rule: the check's name.
        description, url: of the check.
        message: what is wrong here.
        lines: the 1-based lines it is about, one range each.
    """

    __slots__ = ("description", "lines", "message", "rule", "url")

    def __init__(self, rule: Rule, message: str, lines: tuple[int, ...]) -> None:
        self.rule: Final = rule.name
        self.description: Final = rule.description
        self.url: Final = rule.url
        self.message: Final = message
        self.lines: Final = lines

    @property
    def short(self) -> str:
        """The finding in one line, as progress shows it."""
        line = f" (line {self.lines[0]})" if self.lines else ""
        return f"{self.rule}: {self.message}{line}"

    def __repr__(self) -> str:
        return f"Warning({self.rule}, {self.message!r}, lines={self.lines})"


class LintConfig:
    """Which checks are on. Attributes as in `# check=skip=A,B;experimental=C;error=true`."""

    __slots__ = ("error", "experimental", "experimental_all", "skip", "skip_all")

    def __init__(
        self,
        *,
        skip: Iterable[str] = (),
        skip_all: bool = False,
        experimental: Iterable[str] = (),
        experimental_all: bool = False,
        error: bool = False,
    ) -> None:
        self.skip: Final = frozenset(skip)
        self.skip_all: Final = skip_all
        self.experimental: Final = frozenset(experimental)
        self.experimental_all: Final = experimental_all
        self.error: Final = error

    def merged(self, other: LintConfig) -> LintConfig:
        """This configuration with another one's additions; `error` stays as it is."""
        return LintConfig(
            skip=self.skip | other.skip,
            skip_all=self.skip_all or other.skip_all,
            experimental=self.experimental | other.experimental,
            experimental_all=self.experimental_all or other.experimental_all,
            error=self.error,
        )

    def allows(self, rule: Rule) -> bool:
        """Whether the check may speak."""
        if rule.experimental:
            return self.experimental_all or rule.name in self.experimental
        return not self.skip_all and rule.name not in self.skip


class Linter:
    """Collects findings. One list is shared by the linters that `within` makes.

    Mutable state: `warnings` and `called`, appended to by `report` alone.

    Args:
        config: which checks are on.
        directive: the value of the directive that the configuration comes from, if it does.
        warnings: where findings go; None hears nothing: no findings, and no error from `error()`.
    """

    __slots__ = ("called", "config", "directive", "warnings")

    def __init__(self, config: LintConfig, warnings: list[Warning] | None, directive: Word | None = None) -> None:
        self.config = config
        self.directive = directive
        self.warnings = warnings
        self.called: list[str] = []

    def within(self, comments: tuple[str, ...]) -> Linter:
        """The linter for an instruction with those comments above it, of which a `check=` counts."""
        if not comments:
            return self
        for comment in comments:
            directive = parse_directive(comment)
            if directive is None or directive[0] != "check":
                continue
            try:
                extra = parse_check_options(directive[1].partition(" ")[0])
            except CompileError:
                return self
            scoped = Linter(self.config.merged(extra), self.warnings, self.directive)
            scoped.called = self.called
            return scoped
        return self

    def report(self, name: str, message: str, lines: tuple[int, int]) -> None:
        """Note a finding for all lines from the first to the last of `lines`; none for `NOWHERE`."""
        rule = RULES[name]
        if self.warnings is None or not self.config.allows(rule):
            return
        self.called.append(name)
        self.warnings.append(Warning(rule, message, line_list(lines)))

    def error(self) -> CompileError | None:
        """The error of a configuration with `error=true` once something was found, else None."""
        if not self.config.error or not self.called:
            return None
        message = f"lint violation found for rules: {', '.join(sorted(set(self.called)))}"
        return CompileError(message, fault=Fault("check-failed", self.directive))


def line_list(lines: tuple[int, int]) -> tuple[int, ...]:
    """Every line of a range; a range that runs backwards is its first line, and `NOWHERE` has none."""
    if lines == NOWHERE:
        return ()
    first, last = lines
    return tuple(range(first, last + 1)) if last > first else (first,)


def parse_directive(line: str) -> tuple[str, str] | None:
    """Name and value of a parser directive, the comment sign already removed; None for other text."""
    if "=" not in line:
        return None
    match = _DIRECTIVE.fullmatch(line.lstrip())
    if match is None:
        return None
    name = match.group(1).lower()
    return (name, match.group(2)) if name in _KNOWN_DIRECTIVES else None


def check_directive(text: str) -> Word | None:
    """The value of the `# check=` directive at the top of a file up to its first space; None without one.

    Found without parsing, because a wrong value is reported before any syntax error.
    """
    if "check" not in text[:_MAX_LINE].lower():
        return None
    seen: set[str] = set()
    position = len(_BOM) if text.startswith(_BOM) else 0
    if text.startswith("#!", position):
        position = text.find("\n") + 1 or len(text)
    while position < len(text):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        line = text[position:end].removesuffix("\r")
        at, position = position, end + 1
        directive = parse_directive(line[1:]) if line.startswith("#") and len(line) < _MAX_LINE else None
        if directive is None or directive[0] in seen:
            return None
        if directive[0] == "check":
            value = directive[1].partition(" ")[0]
            start = at + line.index("=") + 1
            start += line[start - at :].find(value)
            return Word(value, Span(start, start + len(value)))
        seen.add(directive[0])
    return None


def parse_check_options(text: str, word: Word | None = None) -> LintConfig:
    """`skip=A,B;experimental=all;error=true`, at most three parts; `word`: the directive's value, if it is one's.

    Raises:
        CompileError: an unknown option or no truth value.
    """
    text = text.strip()
    if not text:
        return LintConfig()
    skip: list[str] = []
    experimental: list[str] = []
    skip_all = experimental_all = error = False

    def fault(wrong: str) -> Fault:
        start = text.find(wrong, begin)
        return Fault("bad-check-directive/option", word, (start, start + len(wrong)))

    begin = 0
    for part in text.split(";", 2):
        key, equals, value = part.partition("=")
        if not equals:
            raise CompileError(f"invalid check option {quote(part)}", fault=fault(part))
        key, value = key.strip(), value.strip()
        if key == "skip":
            skip_all, skip = (True, skip) if value == "all" else (skip_all, _names(value))
        elif key == "experimental":
            experimental_all, experimental = (
                (True, experimental) if value == "all" else (experimental_all, _names(value))
            )
        elif key == "error":
            try:
                error = parse_bool(value)
            except NumberError as problem:
                message = f"failed to parse check option {quote(part)}: {problem}"
                raise CompileError(message, fault=fault(value)) from None
        else:
            raise CompileError(f"invalid check option {quote(key)}", fault=fault(key))
        begin += len(part) + 1
    return LintConfig(
        skip=skip,
        skip_all=skip_all,
        experimental=experimental,
        experimental_all=experimental_all,
        error=error,
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]
