"""Configuration of lint as data: hadolint's file and environment, dockc's own tables. Nothing here reads a file.

`.hadolint.yaml` and `HADOLINT_*` mean what they mean to hadolint: lists of several sources add up, single values of
later ones win,
unknown keys are passed over. dockc's own table (`[lint]` of `dockc.toml`, `[tool.dockc.lint]` of `pyproject.toml`) is
strict: an
unknown key is an error.
"""

from __future__ import annotations

from types import MappingProxyType

from dockc.base.pattern import pattern
from dockc.base.record import Record, fields_of, replace
from dockc.errors import UsageError
from dockc.grammar.diagnostic import Severity
from dockc.linter.options import PROFILES, LintOptions
from dockc.linter.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

#: hadolint's names of reports' forms (hadolint 2.15, `src/Hadolint/Formatter/Format.hs`); all of them are forms here.
PEER_FORMATS = (
    "tty", "json", "checkstyle", "codeclimate", "gitlab_codeclimate", "gnu", "codacy", "sonarqube", "sarif", "junit",
)  # fmt: skip
LABEL_TYPES = ("text", "url", "semver", "hash", "rfc3339", "spdx", "email")
_EMPTY: Mapping[str, Any] = MappingProxyType({})
_TRUE = frozenset(["1", "y", "on", "true", "yes"])
#: The keys of dockc's own table: what kind of value each has, and what it says. `linter.schema` makes a JSON schema of
#: it, `dockc config` shows them in this order.
KEYS: dict[str, tuple[str, str]] = {
    "profile": ("profile", "Whose findings: dockc's own, or those of hadolint or BuildKit exactly."),
    "select": ("texts", "Only these rules: codes, name prefixes, or the set `strict`."),
    "extend": ("texts", "Rules that are on besides the profile's own, or the set `strict`."),
    "ignore": ("texts", "Rules that are off."),
    "severity": ("severities", "Severities by rule; `off` switches one off."),
    "trusted-registries": ("texts", "Patterns of registries that base images may come from."),
    "label-schema": ("labels", "Labels that images must have, and the type of each."),
    "strict-labels": ("flag", "Whether other labels than those of the schema are reported."),
    "pragmas": ("flag", "Whether comments in Dockerfiles may suppress findings."),
    "shellcheck": (
        "flag",
        "Whether ShellCheck is demanded (true) or left out (false); without, it runs where installed.",
    ),
    "fail-on": ("threshold", "The mildest severity with which lint ends with 1."),
    "rule-pages": (
        "text",
        "Where the rules' pages are, for links of reports and editors: an address before `NAME.md`, or one with `{name}` or `{code}` in it.",
    ),
    "rules": ("tables", "Options of single rules, by rule name."),
}


class Config(Record, kw_only=True):
    """What one or several sources of configuration say. None and empty mean: nothing said.

    Attributes:
        profile: one of `PROFILES`.
        select, extend, ignore: codes.
        overrides: code and new severity as hadolint has them: of several for one code the worst counts.
        severities: code to severity, None for off; beats `overrides`.
        trusted_registries, label_schema, strict_labels, rules: see `Settings`.
        pragmas: whether suppressing comments count.
        shellcheck: see `LintOptions`.
        fail_on: the mildest severity that fails a run, or "none".
        rule_pages: where the rules' pages are.
        no_fail, no_color, verbose: hadolint's switches of these names.
        formats: hadolint's names of output formats.
    """

    profile: str | None = None
    select: tuple[str, ...] = ()
    extend: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    overrides: tuple[tuple[str, Severity], ...] = ()
    severities: Mapping[str, Severity | None] = _EMPTY
    trusted_registries: tuple[str, ...] = ()
    label_schema: Mapping[str, str] = _EMPTY
    strict_labels: bool | None = None
    rules: Mapping[str, Mapping[str, object]] = _EMPTY
    pragmas: bool | None = None
    shellcheck: bool | None = None
    fail_on: str | None = None
    rule_pages: str | None = None
    no_fail: bool | None = None
    no_color: bool | None = None
    verbose: bool | None = None
    formats: tuple[str, ...] = ()

    def merged(self, later: Config) -> Config:
        """Both; where only one can hold, `later`."""
        changes: dict[str, Any] = {}
        for name in fields_of(Config):
            mine, theirs = getattr(self, name), getattr(later, name)
            if isinstance(mine, tuple):
                changes[name] = (*mine, *(item for item in theirs if item not in mine))
            elif isinstance(mine, (dict, MappingProxyType)):
                changes[name] = {**mine, **theirs}
            else:
                changes[name] = mine if theirs is None else theirs
        changes["select"] = later.select or self.select
        return Config(**changes)

    def options(self, base: LintOptions | None = None) -> LintOptions:
        """Options that begin with `base` and say what the configuration says."""
        base = base or LintOptions()
        old = base.settings
        settings = Settings(
            trusted_registries=(*old.trusted_registries, *self.trusted_registries),
            label_schema={**old.label_schema, **self.label_schema},
            strict_labels=old.strict_labels if self.strict_labels is None else self.strict_labels,
            build_args=old.build_args,
            ignore_patterns=old.ignore_patterns,
            rules={**old.rules, **self.rules},
            rule_pages=self.rule_pages or old.rule_pages,
        )
        worst: dict[str, Severity] = {}
        for code, severity in self.overrides:
            if code not in worst or severity.rank < worst[code].rank:
                worst[code] = severity
        return replace(
            base,
            profile=self.profile or base.profile,
            settings=settings,
            select=self.select or base.select,
            extend=base.extend | set(self.extend),
            ignored=base.ignored | set(self.ignore),
            severities={**worst, **base.severities, **self.severities},
            pragmas=base.pragmas if self.pragmas is None else self.pragmas,
            shellcheck=base.shellcheck if self.shellcheck is None else self.shellcheck,
        )


def place_of(text: str, name: str, key: str) -> str:
    """The file and, where it can be told, the line that names a key or a code."""
    import re

    found = re.search(rf"(?<![\w-]){re.escape(key)}(?![\w-])", text)
    return f"{name}:{text.count(chr(10), 0, found.start()) + 1}" if found else name


# --- hadolint


class NoYaml(UsageError):
    """The package that reads YAML is not installed."""


def hadolint_file(text: str, name: str) -> Config:
    """A `.hadolint.yaml`.

    Args:
        text: of the file.
        name: of the file, for messages.

    Raises:
        UsageError: it is no YAML, a value has the wrong type, or the YAML package is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise NoYaml(f"{name} cannot be read: PyYAML is not installed", hint="`pip install pyyaml`") from None
    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
        words = ": ".join(filter(None, (error.context, error.problem))) or "it cannot be read"
        raise UsageError(f"{name}{place} is not valid YAML: {words}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from None
    table = _Table({} if data is None else data, name, text=text)
    override = _Table(table.get("override", dict) or {}, name, "override.", text)
    formats = table.texts("formats")
    if (single := table.text("format")) is not None:
        formats = (*formats, single)
    for form in formats:
        if form not in PEER_FORMATS:
            key = "format" if form == single else "formats"
            raise UsageError(
                f"{table.place(key)}: {key}: unknown format {form!r}", hint=f"Formats are {', '.join(PEER_FORMATS)}."
            )
    threshold = table.text("failure-threshold")
    if threshold is not None:
        threshold = _PEER_THRESHOLDS[_threshold(threshold, f"{table.place('failure-threshold')}: failure-threshold")]
    disable = table.flag("disable-ignore-pragma")
    return Config(
        ignore=table.texts("ignored"),
        overrides=tuple((code, level) for level in Severity for code in override.texts(level.value)),
        trusted_registries=table.texts("trustedRegistries"),
        label_schema=table.labels("label-schema"),
        strict_labels=table.flag("strict-labels"),
        pragmas=None if disable is None else not disable,
        fail_on=threshold,
        no_fail=table.flag("no-fail"),
        no_color=table.flag("no-color"),
        verbose=table.flag("verbose"),
        formats=formats,
    )


#: Keys of hadolint's file (hadolint 2.15, `src/Hadolint/Config/Configuration.hs`).
_PEER_KEYS = (
    "override", "ignored", "trustedRegistries", "label-schema", "strict-labels", "disable-ignore-pragma", "failure-threshold", "no-fail", "no-color",
    "verbose", "format", "formats",
)  # fmt: skip
_PEER_CODE = pattern(r"(?:DL|SC)\d{4}")


def hadolint_unknown(text: str, name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Keys and rules of a `.hadolint.yaml` that there are not: hadolint passes over them without a word.

    Args:
        text: of the file, which `hadolint_file` has read.
        name: of the file, for messages.
        known: codes of rules that there are.
    """
    import yaml

    data = yaml.safe_load(text)
    if not isinstance(data, dict):
        return ()
    table = _Table(data, name, text=text)
    found: list[tuple[str, str, tuple[str, ...]]] = [
        (key, f"unknown key {key}", _PEER_KEYS) for key in map(str, data) if key not in _PEER_KEYS
    ]
    override = data.get("override") if isinstance(data.get("override"), dict) else {}
    levels = tuple(level.value for level in Severity)
    found += [(key, f"unknown key override.{key}", levels) for key in map(str, override or {}) if key not in levels]
    codes = frozenset(known)
    lists = [data.get("ignored"), *(override or {}).values()]
    for code in dict.fromkeys(str(code) for those in lists if isinstance(those, list) for code in those):
        if code not in codes and not (code.startswith("SC") and _PEER_CODE.fullmatch(code)):
            found.append((code, f"unknown rule {code}", tuple(sorted(codes))))
    from difflib import get_close_matches

    out = []
    for key, words, others in found:
        near = get_close_matches(key, others, n=1)
        place = table.place(key) if words.startswith("unknown key") else place_of(text, name, key)
        out.append(f"{place}: {words}" + (f"; did you mean {near[0]}?" if near else ""))
    return tuple(out)


def hadolint_environment(env: Mapping[str, str]) -> Config:
    """The `HADOLINT_*` variables. As with hadolint, values that it does not know are passed over."""

    def items(name: str) -> tuple[str, ...]:
        return tuple(env[name].split(",")) if env.get(name) else ()

    def flag(name: str) -> bool | None:
        return env[name].lower() in _TRUE if name in env else None

    labels: dict[str, str] = {}
    for item in items("HADOLINT_REQUIRE_LABELS"):
        label, _, kind = item.partition(":")
        if kind in (*LABEL_TYPES, ""):
            labels[label] = kind or "text"
    disable = flag("HADOLINT_DISABLE_IGNORE_PRAGMA")
    threshold = env.get("HADOLINT_FAILURE_THRESHOLD", "")
    return Config(
        ignore=items("HADOLINT_IGNORE"),
        overrides=tuple((code, level) for level in Severity for code in items(f"HADOLINT_OVERRIDE_{level.name}")),
        trusted_registries=items("HADOLINT_TRUSTED_REGISTRIES"),
        label_schema=labels,
        strict_labels=flag("HADOLINT_STRICT_LABELS"),
        pragmas=None if disable is None else not disable,
        fail_on=_PEER_THRESHOLDS.get(_THRESHOLDS.get(threshold, "")),
        no_fail=flag("HADOLINT_NOFAIL"),
        no_color=True if env.get("NO_COLOR") else None,
        verbose=flag("HADOLINT_VERBOSE"),
        formats=tuple(form for form in items("HADOLINT_FORMAT") if form in PEER_FORMATS),
    )


def hadolint_places(directory: str, env: Mapping[str, str]) -> tuple[str, ...]:
    """Where hadolint looks for its file, in order; the first that exists is the only one."""
    home = env.get("HOME", "")
    places = [f"{directory}/.hadolint"]
    if home:
        places.append(f"{env.get('XDG_CONFIG_HOME') or f'{home}/.config'}/hadolint")
        places += [f"{home}/.hadolint/hadolint", f"{home}/.hadolint/config", f"{home}/.hadolint"]
    return tuple(f"{place}.{suffix}" for place in places for suffix in ("yaml", "yml"))


# --- dockc's own


def own_file(text: str, name: str) -> Config | None:
    """The table of lint in a `dockc.toml`, or in a `pyproject.toml` (by its name); None where it has none.

    Raises:
        UsageError: the file is no TOML; a key is unknown; a value has the wrong type.
    """
    import tomllib

    try:
        data: Any = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{name} is not valid TOML: {error}") from None
    if name.replace("\\", "/").rsplit("/", 1)[-1] == "pyproject.toml":
        for key in ("tool", "dockc"):
            data = data.get(key, {}) if isinstance(data, dict) else {}
    if not isinstance(data, dict) or not data:
        return None
    _Table(data, name, text=text).only(["lint"])
    return own_table(data["lint"], name, text)


def own_table(data: object, name: str, text: str = "") -> Config:
    """Dockc's own table of lint. `text` is that of the file, for the lines of mistakes.

    Raises:
        UsageError: a key is unknown or a value has the wrong type.
    """
    table = _Table(data, name, "lint.", text)
    table.only(KEYS)
    profile = table.text("profile")
    if profile is not None and profile not in PROFILES:
        raise UsageError(
            f"{table.place('profile')}: unknown lint.profile {profile!r}", hint=f"Profiles are {', '.join(PROFILES)}."
        )
    severities: dict[str, Severity | None] = {}
    for code, level in (table.get("severity", dict) or {}).items():
        known = _THRESHOLDS.get(level) if isinstance(level, str) else None
        if known is None and level != "off":
            raise UsageError(
                f"{table.place(code)}: unknown severity {level!r} of {code}",
                hint="Severities are error, warning, info, style and off.",
            )
        severities[code] = None if known in {None, "none"} else Severity(known)
    rules: dict[str, Mapping[str, object]] = {}
    for rule, options in (table.get("rules", dict) or {}).items():
        if not isinstance(options, dict):
            raise UsageError(f"{table.place(rule)}: lint.rules.{rule} must be a table")
        rules[rule] = options
    fail_on = table.text("fail-on")
    return Config(
        profile=profile,
        select=table.texts("select"),
        extend=table.texts("extend"),
        ignore=table.texts("ignore"),
        severities=severities,
        trusted_registries=table.texts("trusted-registries"),
        label_schema=table.labels("label-schema"),
        strict_labels=table.flag("strict-labels"),
        pragmas=table.flag("pragmas"),
        shellcheck=table.flag("shellcheck"),
        fail_on=None if fail_on is None else _threshold(fail_on, f"{table.place('fail-on')}: lint.fail-on"),
        rule_pages=_address(table),
        rules=rules,
    )


def _address(table: _Table) -> str | None:
    text = table.text("rule-pages")
    if text and not text.startswith(("https://", "http://", "file:///")):
        raise UsageError(f"{table.place('rule-pages')}: lint.rule-pages must be an address, not {text!r}")
    return text


# --- reading values

#: hadolint takes its mildest severity, `ignore` or `none`, for a threshold that everything reaches.
_PEER_THRESHOLDS = {**{level.value: level.value for level in Severity}, "none": Severity.STYLE.value}
_THRESHOLDS = {**{level.value: level.value for level in Severity}, "ignore": "none", "none": "none"}


def _threshold(text: str, what: str) -> str:
    if text not in _THRESHOLDS:
        raise UsageError(
            f"{what}: unknown severity {text!r}", hint="Severities are error, warning, info, style and none."
        )
    return _THRESHOLDS[text]


class _Table:
    """A table of a configuration file, with typed access that names file and key when it fails."""

    def __init__(self, data: object, name: str, prefix: str = "", text: str = "") -> None:
        self._name = name
        self._prefix = prefix
        self._text = text
        if not isinstance(data, dict):
            what = prefix.rstrip(".")
            raise UsageError(f"{self.place(what)}: {what or 'the file'} must be a table of keys and values")
        self._data = {str(key): value for key, value in data.items()}

    def place(self, key: str) -> str:
        """The file, and the line where a key stands in it, as far as that can be told from the text."""
        import re

        pattern = rf"^[ \t{{]*\[*[ \t]*(?:[\w.\"'-]+\.)?[\"']?{re.escape(key)}[\"']?[ \t]*[\]:=]"
        found = re.search(pattern, self._text, re.MULTILINE) if key else None
        return f"{self._name}:{self._text.count(chr(10), 0, found.start()) + 1}" if found else self._name

    def get(self, key: str, kind: type) -> Any:
        """The value of a key, or None."""
        value = self._data.get(key)
        if value is not None and not isinstance(value, kind):
            kinds = {str: "a string", bool: "true or false", list: "a list", dict: "a table"}
            raise UsageError(f"{self.place(key)}: {self._prefix}{key} must be {kinds[kind]}")
        return value

    def text(self, key: str) -> str | None:
        """A string."""
        found: str | None = self.get(key, str)
        return found

    def flag(self, key: str) -> bool | None:
        """A truth value."""
        found: bool | None = self.get(key, bool)
        return found

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        found = self.get(key, list) or []
        if not all(isinstance(item, str) for item in found):
            raise UsageError(f"{self.place(key)}: {self._prefix}{key} must be a list of strings")
        return tuple(found)

    def labels(self, key: str) -> dict[str, str]:
        """A table of labels and their types."""
        found = self.get(key, dict) or {}
        for label, kind in found.items():
            if kind not in (*LABEL_TYPES, "", None):
                raise UsageError(
                    f"{self.place(label)}: unknown type {kind!r} of label {label}",
                    hint=f"Types are {', '.join(LABEL_TYPES)}.",
                )
        return {str(label): kind or "text" for label, kind in found.items()}

    def only(self, known: Iterable[str]) -> None:
        """Fail for any other key."""
        from difflib import get_close_matches

        for key in self._data:
            if key not in known:
                near = get_close_matches(key, tuple(known), n=1)
                hint = f"Did you mean {near[0]}?" if near else f"Keys are {', '.join(known)}."
                raise UsageError(f"{self.place(key)}: unknown key {self._prefix}{key}", hint=hint)
