"""What a registry, or a token server, says about a refusal in its own words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dockc.errors import RegistryError
from dockc.runtime.registry.transport import printable

if TYPE_CHECKING:
    from dockc.runtime.registry.transport import Response

_READ = 64 << 10
_SHOWN = 512
_SHOWN_OTHER = 256


def server_words(answer: Response) -> str:
    """The words of an answer's body, "" where it has none or cannot be read."""
    try:
        return words_of(answer.read(_READ))
    except RegistryError:
        return ""


def words_of(data: bytes) -> str:
    """Code, message and detail of each error of a body, shortened and fit to be shown; the first 256 bytes of a body of
    another form.

    Source: distribution specification, "Error Codes"; token servers: RFC 6749, 5.2.
    """
    try:
        document: Any = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    said = ""
    if isinstance(document, dict):
        errors = document.get("errors")
        said = "; ".join(filter(None, map(_one, errors))) if isinstance(errors, list) else ""
        said = said or next(
            (
                text
                for key in ("details", "message", "error_description", "error")
                if (text := _text(document.get(key)))
            ),
            "",
        )
    if said:
        return printable(said[:_SHOWN])
    if isinstance(document, dict | list) and not any(document):
        return ""
    return printable(" ".join(data[:_SHOWN_OTHER].decode("utf-8", "replace").split()))


def _one(error: object) -> str:
    if not isinstance(error, dict):
        return _text(error)
    parts = [_text(error.get("code")).lower(), _text(error.get("message"))]
    detail = error.get("detail")
    told = _text(detail) or (json.dumps(detail, ensure_ascii=False) if detail else "")
    return ": ".join(dict.fromkeys(filter(None, (*parts, told))))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
