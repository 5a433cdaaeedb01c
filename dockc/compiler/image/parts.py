"""Parts of an image config that have fields of their own: a step of its history, its health check."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final


class History:
    """One step of an image's making. `created` is RFC 3339 text, "" where unknown."""

    __slots__ = ("author", "comment", "created", "created_by", "empty_layer")

    def __init__(
        self,
        created: str = "",
        created_by: str = "",
        author: str = "",
        comment: str = "",
        *,
        empty_layer: bool = False,
    ) -> None:
        self.created: Final = created
        self.created_by: Final = created_by
        self.author: Final = author
        self.comment: Final = comment
        self.empty_layer: Final = empty_layer

    def to_json(self) -> dict[str, Any]:
        """The fields that are set, in their order."""
        out: dict[str, Any] = {}
        if self.created:
            out["created"] = self.created
        if self.created_by:
            out["created_by"] = self.created_by
        if self.author:
            out["author"] = self.author
        if self.comment:
            out["comment"] = self.comment
        if self.empty_layer:
            out["empty_layer"] = True
        return out


class Healthcheck:
    """How to find out whether a container is well; times in nanoseconds, 0 inherits."""

    __slots__ = ("interval", "retries", "start_interval", "start_period", "test", "timeout")

    def __init__(
        self,
        test: tuple[str, ...] = (),
        *,
        interval: int = 0,
        timeout: int = 0,
        start_period: int = 0,
        start_interval: int = 0,
        retries: int = 0,
    ) -> None:
        self.test: Final = test
        self.interval: Final = interval
        self.timeout: Final = timeout
        self.start_period: Final = start_period
        self.start_interval: Final = start_interval
        self.retries: Final = retries

    def to_json(self) -> dict[str, Any]:
        """The fields that are set, in their order."""
        pairs = (
            ("Test", list(self.test)),
            ("Interval", self.interval),
            ("Timeout", self.timeout),
            ("StartPeriod", self.start_period),
            ("StartInterval", self.start_interval),
            ("Retries", self.retries),
        )
        return {name: value for name, value in pairs if value}
