"""Baselines: findings that are known already. A file of them lets lint start on an old project and fail on what is new.

An entry is a rule, a message and the text of the line, so that it survives changes elsewhere in the file; equal ones
are counted.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dockc.base.files import read_regular
from dockc.base.record import replace
from dockc.errors import DockcError, UsageError
from dockc.grammar.source import Source
from dockc.linter.finding import FileReport, Finding

_VERSION = 1
_LIMIT = 64 << 20

Key = tuple[str, str, str, str]


class Baseline:
    """Known findings, each as often as it may occur. `filtered` uses them up.

    Mutable state: `counts`, what is left of each.
    """

    def __init__(self, root: Path, counts: Counter[Key]) -> None:
        self.root = root
        self.counts = counts

    def __len__(self) -> int:
        return sum(self.counts.values())

    @classmethod
    def of(cls, reports: Sequence[FileReport], root: Path) -> Baseline:
        """All findings of some reports; paths count from `root`."""
        baseline = cls(root, Counter())
        for report in reports:
            shown = report.shown()
            baseline.counts.update(baseline._key(report, shown, finding) for finding in report.findings)
        return baseline

    @classmethod
    def load(cls, path: Path) -> Baseline:
        """Read a file.

        Raises:
            UsageError: it cannot be read, or is no baseline.
        """
        try:
            data: Any = json.loads(read_regular(path, _LIMIT))
            if data["version"] != _VERSION:
                raise UsageError(f"{path}: version {data['version']} of baselines is not known")
            counts: Counter[Key] = Counter()
            for file, rows in data["files"].items():
                for row in rows:
                    counts[file, str(row["code"]), str(row["message"]), str(row["text"])] += int(row.get("count", 1))
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}", hint="--write-baseline makes it.") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UsageError(f"{path} is no baseline") from None
        return cls(path.parent, counts)

    def save(self, path: Path) -> None:
        """Write a file: sorted, so that its changes read well."""
        files: dict[str, list[dict[str, object]]] = {}
        for (file, code, message, text), count in sorted(self.counts.items()):
            row: dict[str, object] = {"code": code, "message": message, "text": text}
            files.setdefault(file, []).append(row | ({"count": count} if count > 1 else {}))
        content = json.dumps({"version": _VERSION, "files": files}, indent=1, ensure_ascii=True) + "\n"
        try:
            path.write_text(content, "utf-8")
        except OSError as error:
            raise DockcError(f"cannot write {path}: {error.strerror}") from None

    def filtered(self, report: FileReport) -> FileReport:
        """A report without what is known."""
        kept = []
        shown = report.shown()
        for finding in report.findings:
            key = self._key(report, shown, finding)
            if self.counts[key] > 0:
                self.counts[key] -= 1
            else:
                kept.append(finding)
        return replace(report, findings=tuple(kept))

    def left(self) -> int:
        """How many known findings did not come up."""
        return sum(count for count in self.counts.values() if count > 0)

    def _key(self, report: FileReport, shown: Source, finding: Finding) -> Key:
        try:
            file = Path(os.path.relpath(report.path, self.root)).as_posix()
        except ValueError:
            file = Path(report.path).as_posix()
        line = min(max(finding.line, 1), len(shown.line_starts))
        return (file, finding.code, finding.message, shown.line_text(line).strip())
