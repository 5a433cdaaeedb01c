"""Code to `module:Class` below `rules/`, in the order in which findings of one line are reported."""

from __future__ import annotations

RULES: dict[str, str] = {}
