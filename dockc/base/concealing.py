"""What is not written down of what builds are given: values whose names say that they are secret, and logins of URLs."""

from __future__ import annotations

from dockc.base.pattern import IGNORECASE, pattern
from dockc.errors import HIDDEN, without_credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

SECRET = pattern(
    r"token|secret|passw(?:or)?d|pword|credential|(?:^|[_\-.:])(?:auth|key|sig)(?:$|[_\-.])|api[_\-]?key",
    IGNORECASE,
)
"""Names of options, arguments and variables whose values are no one's business."""


SHORTEST = 6
"""Characters of a value that is looked for in other texts; shorter ones would take harmless words along."""


def without_values(text: str, values: Iterable[str]) -> str:
    """A text without these values."""
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return text


def _is_secret(name: str) -> bool:
    return len(name) < 100 and bool(SECRET.search(name)) and name.replace("_", "a").isalnum()


def secret_values(value: Any) -> set[str]:
    """What JSON values have as `NAME=VALUE` with a secret's name, as far as it is long enough to be looked for."""
    from collections.abc import Mapping, Sequence

    if isinstance(value, str):
        name, _, secret = value.partition("=")
        return {secret} if len(secret) >= SHORTEST and _is_secret(name) else set()
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return {found for one in value for found in secret_values(one)}
    return set()


def without_secret(text: str) -> str:
    """A text without the value, where it is `NAME=VALUE` and the name a secret's; and without what its URLs carry to log in."""
    name, equals, _ = text.partition("=")
    if equals and _is_secret(name):
        return f"{name}={HIDDEN}"
    return without_credentials(text)


def concealed(value: Any) -> Any:
    """JSON values whose texts are all `without_secret`."""
    from collections.abc import Mapping, Sequence  # who compiles needs nothing but the pattern

    if isinstance(value, str):
        return without_secret(value)
    if isinstance(value, Mapping):
        return {key: concealed(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [concealed(one) for one in value]
    return value
