"""A JSON schema of `dockc.toml`, made of the keys that `linter.config` reads; editors check and complete by it.

Source: JSON Schema draft 7, which the TOML plugins of editors read.
"""

from __future__ import annotations

from typing import Any

from dockc.grammar.diagnostic import Severity
from dockc.linter.config import KEYS, LABEL_TYPES
from dockc.linter.options import PROFILES

_LEVELS = [level.value for level in Severity]
_KINDS: dict[str, dict[str, Any]] = {
    "profile": {"enum": list(PROFILES)},
    "text": {"type": "string"},
    "texts": {"type": "array", "items": {"type": "string"}},
    "flag": {"type": "boolean"},
    "threshold": {"enum": [*_LEVELS, "none", "ignore"]},
    "severities": {"type": "object", "additionalProperties": {"enum": [*_LEVELS, "off", "none", "ignore"]}},
    "labels": {"type": "object", "additionalProperties": {"enum": [*LABEL_TYPES, ""]}},
    "tables": {"type": "object", "additionalProperties": {"type": "object"}},
}


def schema() -> dict[str, Any]:
    """The schema as JSON data."""
    lint = {
        "type": "object",
        "description": "What dockc lint reports.",
        "additionalProperties": False,
        "properties": {key: {"description": said, **_KINDS[kind]} for key, (kind, said) in KEYS.items()},
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "dockc.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": {"lint": lint},
    }
