"""Image references: `[domain/]path[:tag][@digest]`, and the short names people type.

Source: the distribution project's reference grammar. Error messages are those of the reference
implementation, because users and tests compare them.
"""

from __future__ import annotations

from dockc.base.memo import remembered
from dockc.base.pattern import pattern
from dockc.base.record import Record, replace
from dockc.errors import DockcError
from dockc.oci import digest as digests

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
PATH_LENGTH_MAX = 255
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_LABEL = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"

_REFERENCE = pattern(rf"((?:{_DOMAIN}/)?{_PATH})(?::({_TAG}))?(?:@({_DIGEST}))?")
_NAME = pattern(rf"(?:({_DOMAIN})/)?({_PATH})")
_TAG_ONLY = pattern(_TAG)
_DIGEST_ONLY = pattern(_DIGEST)
_IDENTIFIER = pattern(r"[a-f0-9]{64}")


class InvalidReference(DockcError):
    """A text that names no image."""


class NotLowerCase(InvalidReference):
    """A repository name with capital letters."""


class Reference(Record):
    """An image name.

    Attributes:
        domain: registry host with optional port; "" only for names parsed without normalising.
        path: repository inside the registry.
        tag: tag, or "".
        digest: digest, or "".
    """

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Domain and path, without tag and digest."""
        return f"{self.domain}/{self.path}" if self.domain else self.path

    def __str__(self) -> str:
        text = self.name
        if self.tag:
            text += f":{self.tag}"
        if self.digest:
            text += f"@{self.digest}"
        return text

    @property
    def is_name_only(self) -> bool:
        """Whether neither a tag nor a digest is given."""
        return not self.tag and not self.digest

    @property
    def object(self) -> str:
        """What to ask the registry for: the digest when there is one, else the tag, else ""."""
        return self.digest or self.tag

    def tag_name_only(self) -> Reference:
        """The reference with `:latest` when it has neither tag nor digest."""
        return replace(self, tag=DEFAULT_TAG) if self.is_name_only else self

    def with_tag(self, tag: str) -> Reference:
        """The reference with this tag; `InvalidReference` when it is none."""
        if _TAG_ONLY.fullmatch(tag) is None:
            raise InvalidReference("invalid tag format")
        return replace(self, tag=tag)

    def with_digest(self, digest: str) -> Reference:
        """The reference with this digest; `InvalidReference` when it is none."""
        if _DIGEST_ONLY.fullmatch(digest) is None:
            raise InvalidReference("invalid digest format")
        return replace(self, digest=digest)

    def trim(self) -> Reference:
        """The bare name."""
        return Reference(self.domain, self.path)

    def familiar(self) -> str:
        """The shortest form that normalises back to this reference (`docker.io/library/` left out)."""
        domain, path = self.domain, self.path
        if domain == DEFAULT_DOMAIN:
            domain = ""
            rest = path.removeprefix(_OFFICIAL)
            if rest != path and "/" not in rest:
                path = rest
        return str(Reference(domain, path, self.tag, self.digest))

    def familiar_name(self) -> str:
        """`familiar` of the bare name."""
        return self.trim().familiar()


def parse(text: str) -> Reference:
    """Parse a reference as it stands; nothing is added.

    Raises:
        InvalidReference: with the message of the reference implementation.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        if not text:
            raise InvalidReference("repository name must have at least one component")
        if _REFERENCE.fullmatch(text.lower()):
            raise NotLowerCase("repository name must be lowercase")
        raise InvalidReference("invalid reference format")
    name, tag, digest = match.group(1), match.group(2) or "", match.group(3) or ""
    split = _NAME.fullmatch(name)
    domain, path = (split.group(1) or "", split.group(2)) if split else ("", name)
    if len(path) > PATH_LENGTH_MAX:
        raise InvalidReference(f"repository name must not be more than {PATH_LENGTH_MAX} characters")
    if digest:
        try:
            digests.validate(digest)
        except digests.InvalidDigest as error:
            raise InvalidReference(error.message) from None
    return Reference(domain, path, tag, digest)


@remembered(512)
def parse_normalized(text: str) -> Reference:
    """Parse a name as people type it: `debian` is `docker.io/library/debian`.

    Neither tag nor digest is added; see `Reference.tag_name_only`.

    Raises:
        InvalidReference: with the message of the reference implementation.
    """
    if _IDENTIFIER.fullmatch(text):
        raise InvalidReference(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    domain, rest = _split_domain(text)
    repository = rest.partition(":")[0]
    if repository.lower() != repository:
        raise NotLowerCase(f"invalid reference format: repository name ({repository}) must be lowercase")
    return parse(f"{domain}/{rest}")


def parse_docker(text: str) -> Reference:
    """As `parse_normalized`, with `:latest` added, and the tag left out when a digest is given too."""
    reference = parse_normalized(text)
    if reference.tag and reference.digest:
        return replace(reference, tag="")
    return reference.tag_name_only()


def _split_domain(text: str) -> tuple[str, str]:
    """Split off the registry: the first component is one when it looks like a host."""
    first, slash, rest = text.partition("/")
    if not slash:
        return DEFAULT_DOMAIN, _OFFICIAL + text
    if first == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    elif first == "localhost" or "." in first or ":" in first or first.lower() != first:
        domain = first
    else:
        domain, rest = DEFAULT_DOMAIN, text
    if domain == DEFAULT_DOMAIN and "/" not in rest:
        rest = _OFFICIAL + rest
    return domain, rest
