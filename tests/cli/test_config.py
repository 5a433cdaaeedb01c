"""`dockc config`: what holds, where it comes from, and the schema of dockc's own file."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from dockc.errors import DockcError
from dockc.line.main import run
from dockc.linter.config import KEYS, own_table
from dockc.linter.schema import schema

REPO = Path(__file__).resolve().parents[2]
WHOLE = """\
[lint]
profile = "dockc"
select = ["DL3008"]
extend = ["strict"]
ignore = ["DL3015"]
trusted-registries = ["quay.io"]
strict-labels = true
pragmas = false
shellcheck = false
fail-on = "error"
rule-pages = "https://rules.example/{code}"
[lint.severity]
DL3020 = "error"
DL4006 = "off"
[lint.label-schema]
maintainer = "email"
[lint.rules.line-length]
max = 100
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "HADOLINT_IGNORE",
        "DOCKC_LOCAL_IMAGES",
        "XDG_CONFIG_HOME",
        "XDG_CACHE_HOME",
        "BUILDX_BUILDER",
        "NO_COLOR",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKC_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _shown(capsysbinary: pytest.CaptureFixture[bytes]) -> dict[str, dict[str, Any]]:
    assert run(["config", "--format=json"]) == 0
    found: dict[str, dict[str, Any]] = json.loads(capsysbinary.readouterr().out)
    return found


def test_each_value_says_where_it_comes_from(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    before = _shown(capsysbinary)
    assert before["store"] == {"value": str(home / "store"), "source": "$DOCKC_STORE"}
    assert before["lint.profile"] == {"value": "dockc", "source": "default"}
    assert before["build.local-images"] == {"value": False, "source": "default"}
    assert {name.removeprefix("lint.") for name in before if name.startswith("lint.")} == set(KEYS)
    (home / "dockc.toml").write_text(WHOLE)
    (home / ".hadolint.yaml").write_text("ignored: [DL3000]\n")
    monkeypatch.setenv("HADOLINT_IGNORE", "DL3001")
    monkeypatch.setenv("DOCKC_LOCAL_IMAGES", "1")
    after = _shown(capsysbinary)
    assert after["lint.ignore"]["value"] == ["DL3001", "DL3000", "DL3015"]
    assert after["lint.ignore"]["source"] == "$HADOLINT_…, .hadolint.yaml, dockc.toml"
    assert after["lint.severity"] == {"value": {"DL3020": "error", "DL4006": "off"}, "source": "dockc.toml"}
    assert after["build.local-images"] == {"value": True, "source": "$DOCKC_LOCAL_IMAGES"}
    assert {key for key in KEYS if after[f"lint.{key}"]["source"] == "default"} == set()
    assert run(["config"]) == 0
    assert b"lint.fail-on" in capsysbinary.readouterr().out
    assert run(["config", "none"]) == 2


def test_the_schema_and_the_reader_agree(home: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(["config", "--schema"]) == 0
    shown = json.loads(capsysbinary.readouterr().out)
    assert shown == schema() == json.loads((REPO / "docs/reference/dockc.schema.json").read_text())
    validator = jsonschema.Draft7Validator(shown)
    validator.check_schema(shown)
    whole = tomllib.loads(WHOLE)
    assert set(whole["lint"]) == set(KEYS), "the example has every key"
    assert validator.is_valid(whole)
    own_table(whole["lint"], "dockc.toml")
    for key, value in {
        "profile": "other", "select": "DL3008", "ignore": [1], "severity": {"DL3008": "loud"}, "strict-labels": "yes",
        "label-schema": {"a": "number"}, "fail-on": "all", "rules": {"x": 1}, "unknown": 1, "rule-pages": 1,
    }.items():  # fmt: skip
        broken = {"lint": {key: value}}
        assert not validator.is_valid(broken), broken
        with pytest.raises(DockcError):
            own_table(broken["lint"], "dockc.toml")


def test_examples_of_the_docs_fit_the_schema() -> None:
    import re

    checked = 0
    for page in (REPO / "docs").rglob("*.md"):
        for text in re.findall(r"(?ms)^```toml\n(.*?)^```", page.read_text()):
            if "[lint" in text:
                jsonschema.validate(tomllib.loads(text), schema())
                checked += 1
    assert checked


def test_links_of_reports_lead_to_the_pages(home: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    (home / "Dockerfile").write_text("FROM debian:12\nRUN apt-get install curl\n")
    for place, wanted in {
        "https://rules.example/pages/": "https://rules.example/pages/apt-yes.md",
        "https://rules.example/{code}#{name}": "https://rules.example/DL3014#apt-yes",
    }.items():
        (home / "dockc.toml").write_text(f'[lint]\nrule-pages = "{place}"\n')
        run(["lint", "--no-shellcheck", "--select=DL3014", "--format=sarif"])
        report = json.loads(capsysbinary.readouterr().out)
        (rule,) = report["runs"][0]["tool"]["driver"]["rules"]
        assert rule["helpUri"] == wanted
        assert rule["help"]["markdown"].startswith("# DL3014: apt-yes\n") and "## Why" in rule["help"]["markdown"]
    (home / "dockc.toml").write_text('[lint]\nrule-pages = "rules"\n')
    assert run(["lint"]) == 2
