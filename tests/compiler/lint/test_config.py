"""Configuration of lint: hadolint's file and environment, dockc's own tables, and where they are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockc.commands.lint.config import load
from dockc.errors import UsageError
from dockc.grammar.diagnostic import Severity
from dockc.linter.config import Config, hadolint_environment, hadolint_file, hadolint_places, hadolint_unknown, own_file
from dockc.linter.options import LintOptions

YAML = """
ignored: [DL3008]
override:
  error: [DL3006]
  info: [DL3006, DL3057]
failure-threshold: none
trustedRegistries: [quay.io]
label-schema:
  version: semver
  plain: ""
strict-labels: true
disable-ignore-pragma: true
no-fail: true
format: json
something-else: 1
"""


def test_hadolints_file_means_what_it_means_to_hadolint() -> None:
    config = hadolint_file(YAML, "hadolint.yaml")
    options = config.options()
    assert options.ignored == {"DL3008"}
    assert options.severities == {"DL3006": Severity.ERROR, "DL3057": Severity.INFO}  # the worst of several counts
    assert options.settings.trusted_registries == ("quay.io",)
    assert options.settings.label_schema == {"version": "semver", "plain": "text"}
    assert options.settings.strict_labels
    assert not options.pragmas
    assert (config.fail_on, config.no_fail, config.formats) == ("style", True, ("json",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ignored: DL3008", "c.yaml:1: ignored must be a list"),
        ("ignored: [1]", "c.yaml:1: ignored must be a list of strings"),
        ("override: [a]", "c.yaml:1: override must be a table"),
        ("- a", "c.yaml: the file must be a table of keys and values"),
        ("label-schema: {a: number}", "c.yaml: unknown type 'number' of label a"),
        ("failure-threshold: loud", "c.yaml:1: failure-threshold: unknown severity 'loud'"),
        ("strict-labels: 3", "c.yaml:1: strict-labels must be true or false"),
    ],
)
def test_wrong_values_name_file_and_key(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        hadolint_file(text, "c.yaml")
    assert error.value.message == message


def test_broken_yaml_is_a_usage_error_and_an_empty_file_is_none() -> None:
    with pytest.raises(UsageError, match=r"^c\.yaml:2:1 is not valid YAML: while parsing a flow sequence: expected "):
        hadolint_file("ignored: [DL3008\n", "c.yaml")
    with pytest.raises(UsageError, match=r"^c\.yaml is not valid YAML: unacceptable character"):
        hadolint_file("a: \x00", "c.yaml")
    assert hadolint_file("", "c.yaml") == Config()


def test_environment() -> None:
    config = hadolint_environment(
        {
            "HADOLINT_IGNORE": "DL3008,SC2086",
            "HADOLINT_OVERRIDE_WARNING": "DL3057",
            "HADOLINT_TRUSTED_REGISTRIES": "a.io,b.io",
            "HADOLINT_REQUIRE_LABELS": "v:semver,w,x:nonsense",
            "HADOLINT_STRICT_LABELS": "Yes",
            "HADOLINT_NOFAIL": "0",
            "HADOLINT_FAILURE_THRESHOLD": "ignore",
            "NO_COLOR": "1",
        }
    )
    assert config.ignore == ("DL3008", "SC2086")
    assert config.overrides == (("DL3057", Severity.WARNING),)
    assert config.trusted_registries == ("a.io", "b.io")
    assert config.label_schema == {"v": "semver", "w": "text"}
    assert (config.strict_labels, config.no_fail, config.fail_on, config.no_color) == (True, False, "style", True)
    assert hadolint_environment({"NO_COLOR": ""}).no_color is None, "no-color.org: where it is not empty"


def test_lists_of_two_sources_add_up_and_single_values_of_the_later_win() -> None:
    first = Config(ignore=("A",), fail_on="error", label_schema={"a": "text"}, select=("DL",))
    second = Config(ignore=("B", "A"), fail_on="info", label_schema={"b": "url"})
    merged = first.merged(second)
    assert merged.ignore == ("A", "B")
    assert merged.fail_on == "info"
    assert merged.label_schema == {"a": "text", "b": "url"}
    assert merged.select == ("DL",)


OWN = """
[lint]
profile = "hadolint"
extend = ["DL3057"]
ignore = ["SC2086"]
fail-on = "warning"
trusted-registries = ["ghcr.io"]
label-schema = {version = "semver"}
[lint.severity]
DL3008 = "error"
DL3009 = "off"
[lint.rules.consecutive-runs]
limit = 3
"""


def test_own_table() -> None:
    config = own_file(OWN, "dockc.toml")
    assert config is not None
    options = config.options(LintOptions(ignored=frozenset(["X"])))
    assert options.profile == "hadolint"
    assert options.ignored == {"X", "SC2086"}
    assert options.extend == {"DL3057"}
    assert options.severities == {"DL3008": Severity.ERROR, "DL3009": None}
    assert options.settings.rules == {"consecutive-runs": {"limit": 3}}
    assert config.fail_on == "warning"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[lint]\nignored = []", "dockc.toml:2: unknown key lint.ignored", "Did you mean ignore?"),
        (
            '[lint]\nprofile = "kics"',
            "dockc.toml:2: unknown lint.profile 'kics'",
            "Profiles are dockc, hadolint, buildkit.",
        ),
        (
            '[lint.severity]\nDL3008 = "loud"',
            "dockc.toml:2: unknown severity 'loud' of DL3008",
            "Severities are error, warning, info, style and off.",
        ),
        ("[lint.rules]\nx = 1", "dockc.toml:2: lint.rules.x must be a table", ""),
        ("# here\n[lnit]\nignore = []", "dockc.toml:2: unknown key lnit", "Did you mean lint?"),
        ("lint = 1", "dockc.toml:1: lint must be a table of keys and values", ""),
    ],
)
def test_own_table_is_strict(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        own_file(text, "dockc.toml")
    assert (error.value.message, error.value.hint) == (message, hint)


def test_pyproject_holds_it_below_tool() -> None:
    text = '[project]\nname = "x"\n[tool.dockc.lint]\nselect = ["DL"]\n'
    assert own_file(text, "a/pyproject.toml") == Config(select=("DL",))
    assert own_file('[project]\nname = "x"\n', "pyproject.toml") is None
    assert own_file("[tool]\ndockc = 3\n", "pyproject.toml") is None


def test_hadolints_places_in_order() -> None:
    assert hadolint_places("/w", {"HOME": "/h"}) == (
        "/w/.hadolint.yaml", "/w/.hadolint.yml", "/h/.config/hadolint.yaml", "/h/.config/hadolint.yml",
        "/h/.hadolint/hadolint.yaml", "/h/.hadolint/hadolint.yml", "/h/.hadolint/config.yaml", "/h/.hadolint/config.yml",
        "/h/.hadolint.yaml", "/h/.hadolint.yml",
    )  # fmt: skip


def test_the_nearest_own_file_above_is_found_and_hadolints_only_here(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "dockc.toml").write_text('[lint]\nignore = ["DL3001"]\n')
    (tmp_path / "a" / "pyproject.toml").write_text('[tool.dockc.lint]\nignore = ["DL3002"]\n')
    (tmp_path / "a" / ".hadolint.yaml").write_text("ignored: [PEER]\n")
    assert load(inner, {}).ignore == ("DL3002",)
    assert load(tmp_path / "a", {}).ignore == ("PEER", "DL3002")
    assert load(tmp_path, {"HADOLINT_IGNORE": "ENV"}).ignore == ("ENV", "DL3001")
    assert load(tmp_path / "a", {"HADOLINT_IGNORE": "ENV"}, profile="buildkit").ignore == ("DL3002",)


def test_an_explicit_file_is_the_only_one(tmp_path: Path) -> None:
    (tmp_path / "dockc.toml").write_text('[lint]\nignore = ["DL3001"]\n')
    (tmp_path / "other.yaml").write_text("ignored: [PEER]\n")
    assert load(tmp_path, {}, explicit=tmp_path / "other.yaml").ignore == ("PEER",)
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path, {}, explicit=tmp_path / "missing.toml")


def test_of_a_labels_types_the_environments_counts(tmp_path: Path) -> None:
    (tmp_path / ".hadolint.yaml").write_text("label-schema: {a: url, b: hash}\n")
    config = load(tmp_path, {"HADOLINT_REQUIRE_LABELS": "a:semver,c"})
    assert config.label_schema == {"a": "semver", "b": "hash", "c": "text"}


def test_a_rule_that_there_is_not_is_an_error_at_its_line(tmp_path: Path) -> None:
    (tmp_path / "dockc.toml").write_text('[lint]\nignore = ["SC2086", "DL"]\n\n[lint.severity]\nDL3O20 = "error"\n')
    with pytest.raises(UsageError) as error:
        load(tmp_path, {})
    assert error.value.message == f"{tmp_path}/dockc.toml:5: unknown rule: DL3O20"
    assert error.value.hint == "Did you mean DL3020?"


def test_mistakes_in_hadolints_file_have_their_line() -> None:
    with pytest.raises(UsageError, match=r"^c\.yaml:2: ignored must be a list$"):
        hadolint_file("no-fail: true\nignored: DL3020\n", "c.yaml")


@pytest.mark.parametrize("text", ["ignored: [DL3006", "ignored: 5", "- a", "failure-threshold: loud"])
def test_hadolints_profile_goes_on_without_a_broken_file(tmp_path: Path, text: str) -> None:
    (tmp_path / ".hadolint.yaml").write_text(text)
    told: list[str] = []

    def warn(error: UsageError) -> None:
        told.append(error.message)

    assert load(tmp_path, {}, profile="hadolint", warn=warn) == Config()
    assert load(tmp_path, {}, explicit=tmp_path / ".hadolint.yaml", profile="hadolint", warn=warn) == Config()
    assert len(told) == 2
    for profile in ("", "dockc"):
        with pytest.raises(UsageError):
            load(tmp_path, {}, profile=profile, warn=warn)


def test_what_hadolints_file_names_and_there_is_not_is_told() -> None:
    text = "ignored: [DL3008, DL9999, SC2086]\noverrides:\n  error: [DL3006]\noverride:\n  eror: [DL3001]\n  info: [DL300]\n"
    assert hadolint_unknown(text, ".hadolint.yaml", ("DL3001", "DL3006", "DL3008")) == (
        ".hadolint.yaml:2: unknown key overrides; did you mean override?",
        ".hadolint.yaml:5: unknown key override.eror; did you mean error?",
        ".hadolint.yaml:1: unknown rule DL9999",
        ".hadolint.yaml:6: unknown rule DL300; did you mean DL3008?",
    )
    assert hadolint_unknown("ignored: [DL3008]\n", ".hadolint.yaml", ("DL3008",)) == ()
