"""The log of a daemon as lines of JSON, with the fields that BuildKit's has."""

from __future__ import annotations

import json
import logging
import time

_WORDS = {logging.CRITICAL: "fatal", logging.WARNING: "warning"}


class JsonLines(logging.Formatter):
    """One object a line: level, msg, time, and error where something failed."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        level = _WORDS.get(record.levelno, record.levelname.lower())
        found = {"level": level, "msg": record.getMessage(), "time": moment}
        if record.exc_info:
            found["error"] = self.formatException(record.exc_info)
        return json.dumps(found)
