"""Options that rules read. Apart from the rest of lint, so that configuration can be read without it."""

from __future__ import annotations

from types import MappingProxyType

from dockc.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Settings(Record, kw_only=True):
    """Options that rules read; the names are those of hadolint's configuration where it has them.

    Attributes:
        trusted_registries: patterns of registries that images may come from.
        label_schema: label to type, `text` by default.
        strict_labels: no label outside the schema.
        build_args: values given for ARGs.
        ignore_patterns: of the context's ignore file, or None where none is known.
        rules: options of single rules, by rule name.
        rule_pages: where the rules' pages are; "" where nobody serves them.
    """

    trusted_registries: tuple[str, ...] = ()
    label_schema: Mapping[str, str] = MappingProxyType({})
    strict_labels: bool = False
    build_args: Mapping[str, str] = MappingProxyType({})
    ignore_patterns: tuple[str, ...] | None = None
    rules: Mapping[str, Mapping[str, object]] = MappingProxyType({})
    rule_pages: str = ""

    def page_of(self, name: str, code: str) -> str:
        """The address of a rule's page; "" where nobody serves it."""
        place = self.rule_pages
        if "{name}" in place or "{code}" in place:
            return place.replace("{name}", name).replace("{code}", code)
        return f"{place.rstrip('/')}/{name}.md" if place else ""
