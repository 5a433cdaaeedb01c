"""Questions that compiling asks the world, and the answers, as plain values.

The compiler does no I/O. What it must know comes in an `Answers`; what is missing there it asks for, as a generator
that gives requests, is sent answers and ends with its result. Base images may carry ONBUILD triggers that name
further images, so there may be several rounds. Whoever wants the result drives the conversation, and decides how and
where the answers are found:

    compiled = converse(compiling(source, options), ask)              # at once, `ask` is a function
    compiled = await converse_with(compiling(source, options), ask)   # on an event loop, `ask` is a coroutine

`Answers.dump` and `Answers.load` write and read them as JSON: the file of `--answers`, and the heart of a lock file.

    {"version": 1,
     "images": [{"ref": "docker.io/library/alpine:3", "platform": "linux/amd64",
                 "digest": "sha256:...", "config": {...}}],
     "files": {"context": {".dockerignore": "*.log\\n", "missing": null}},
     "http": {"https://example.com/a.tar": {"digest": "sha256:...", "last_modified": "2024-01-02T03:04:05Z"}},
     "git": {"git://example.com/r.git#main": {"commit": "9f...", "commit_object": "tree ...\\n"}}}

An image entry may have `resolved` where the registry gave another reference than the one asked for, `store` for an
image of an OCI layout, and instead of `digest` and `config` either `error` where looking it up failed, or `becomes`
where rules of the build put another source in its place. `config` may also be a string: the exact text of the config.
"""

from __future__ import annotations

from types import MappingProxyType

from dockc.base.record import Record, fields_of
from dockc.errors import DockcError, UsageError, without_credentials
from dockc.llb.attrs import SCHEME_IMAGE
from dockc.oci import platform as platforms
from dockc.oci.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping
    from typing import Any, TypeVar

    T = TypeVar("T")
    Asking = Generator[tuple["Request", ...], "Answers", T]
    """A conversation: gives requests, is sent their answers, returns a value."""

VERSION = 1


class ImageRequest(Record):
    """Which digest and config does this image have?

    Attributes:
        ref: full reference, with domain and tag or digest.
        platform: for which platform.
        resolve_mode: `default`, `pull` or `local`.
        store: name of an OCI layout store; "" asks the registry of `ref`.
        log_name: what a progress view may call the lookup.
    """

    ref: str
    platform: Platform
    resolve_mode: str = "default"
    store: str = ""
    log_name: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What an answer is found by: the mode in which it was resolved makes no difference."""
        return (self.ref, platforms.format_all(self.platform), self.store)


class ContextRequest(Record):
    """What is in these files of a local source? (`context`, `dockerfile`, or a named context's directory)"""

    name: str
    files: tuple[str, ...]


class HttpRequest(Record):
    """What does the server say about this URL? `filename` is what the download is called."""

    url: str
    filename: str = ""
    checksum: str = ""

    @property
    def key(self) -> str:
        """What answers know it by: they are written to files, so without what the URL carries to log in."""
        return without_credentials(self.url)


class GitRequest(Record):
    """Which commit does this git source name? `identifier` and `attrs` are those of the source operation."""

    identifier: str
    attrs: tuple[tuple[str, str], ...] = ()


Request = ImageRequest | ContextRequest | HttpRequest | GitRequest


class ImageAnswer(Record):
    """An image as it was found.

    Attributes:
        ref: the reference that was resolved, usually the one asked for.
        digest: digest of manifest or index, or "".
        config: the config's bytes.
        error: why it could not be looked up, or "".
        hint: what can be done about that, or ""; not kept in files.
        stored: why the store's image of that name was taken, or ""; not kept in files.
        becomes: identifier (`local://name`) of what the build's rules put in the image's place, where that is no image;
            "" where it stays one.
    """

    ref: str
    digest: str = ""
    config: bytes = b""
    error: str = ""
    hint: str = ""
    stored: str = ""
    becomes: str = ""

    @property
    def problem(self) -> str:
        """Why there is no image to start from, or ""."""
        if self.becomes:
            return f"ref mutated by policy to non-image: {SCHEME_IMAGE}{self.ref} -> {self.becomes}"
        return self.error


class HttpAnswer(Record):
    """What a server said.

    Attributes:
        digest: digest of the content, or "".
        last_modified: RFC 3339 time of the last change, or "".
        newest: RFC 3339 time of the newest file when the content is an archive, or "".
        archive: whether the content is an archive.
        error: why it could not be fetched, or "".
    """

    digest: str = ""
    last_modified: str = ""
    newest: str = ""
    archive: bool = False
    error: str = ""


class GitAnswer(Record):
    """What a repository said.

    Attributes:
        commit: hash of the commit, or "".
        commit_object: the raw commit object, or b"".
        error: why it could not be fetched, or "".
    """

    commit: str = ""
    commit_object: bytes = b""
    error: str = ""


_SUPPLY = "compile online, or supply the answers with --answers"


class Unanswered(DockcError):
    """Compiling cannot go on without these answers.

    Attributes:
        requests: what is missing, each once.
    """

    def __init__(self, requests: Iterable[Request], *, hint: str = _SUPPLY) -> None:
        self.requests = tuple(dict.fromkeys(requests))
        super().__init__(
            "no answer for " + ", ".join(describe(request) for request in self.requests),
            hint=hint,
        )


def describe(request: Request) -> str:
    """The request in words."""
    match request:
        case ImageRequest():
            place = f" in store {request.store}" if request.store else ""
            return f"image {request.ref} for {platforms.format_all(request.platform)}{place}"
        case ContextRequest():
            return f"{' and '.join(request.files)} of {request.name}"
        case HttpRequest():
            return request.key
        case GitRequest():
            return request.identifier


_NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Answers(Record):
    """All that is known about the world.

    Attributes:
        images: by reference, platform and store (`ImageRequest.key`).
        files: by local source and path; None for a file that is not there.
        http: by URL (`HttpRequest.key`).
        git: by source identifier.
    """

    images: Mapping[tuple[str, str, str], ImageAnswer] = _NOTHING
    files: Mapping[tuple[str, str], bytes | None] = _NOTHING
    http: Mapping[str, HttpAnswer] = _NOTHING
    git: Mapping[str, GitAnswer] = _NOTHING

    def merged(self, other: Answers) -> Answers:
        """These answers and the other's, which win."""
        return Answers(
            {**self.images, **other.images},
            {**self.files, **other.files},
            {**self.http, **other.http},
            {**self.git, **other.git},
        )

    def has(self, request: Request) -> bool:
        """Whether the request is answered."""
        match request:
            case ImageRequest():
                return request.key in self.images
            case ContextRequest():
                return all((request.name, file) in self.files for file in request.files)
            case HttpRequest():
                return request.key in self.http
            case GitRequest():
                return request.identifier in self.git

    # --- as a file ------------------------------------------------------------------------------------

    def dump(self) -> str:
        """The answers as JSON text, sorted, ending in a line end."""
        import json

        files: dict[str, dict[str, str | None]] = {}
        for (name, file), data in sorted(self.files.items()):
            text = None if data is None else data.decode("utf-8", "surrogateescape")
            files.setdefault(name, {})[file] = text
        document: dict[str, Any] = {"version": VERSION}
        if self.images:
            document["images"] = [_image_json(key, self.images[key]) for key in sorted(self.images)]
        if files:
            document["files"] = files
        if self.http:
            document["http"] = {url: _plain(self.http[url]) for url in sorted(self.http)}
        if self.git:
            document["git"] = {name: _plain(self.git[name]) for name in sorted(self.git)}
        return json.dumps(document, indent=1) + "\n"

    @classmethod
    def load(cls, text: str, name: str = "answers") -> Answers:
        """Read what `dump` wrote.

        Raises:
            UsageError: not JSON, another version, or an entry of the wrong shape; `name` is the file.
        """
        import json

        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{name}: not valid JSON: {error}") from None
        try:
            return _load(document)
        except (KeyError, TypeError, AttributeError, ValueError, DockcError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise UsageError(f"{name}: not an answers file: {reason}") from None


def _image_json(key: tuple[str, str, str], answer: ImageAnswer) -> dict[str, Any]:
    ref, platform, store = key
    out: dict[str, Any] = {"ref": ref, "platform": platform}
    if store:
        out["store"] = store
    if answer.ref and answer.ref != ref:
        out["resolved"] = answer.ref
    if answer.error:
        return out | {"error": answer.error}
    if answer.becomes:
        return out | {"becomes": answer.becomes}
    if answer.digest:
        out["digest"] = answer.digest
    text = answer.config.decode("utf-8", "surrogateescape")
    out["config"] = text
    import json

    try:
        value = json.loads(text)
        # An object is easier to read; it is used only where its compact form is the very text.
        if json.dumps(value, ensure_ascii=False, separators=(",", ":")) == text:
            out["config"] = value
    except (ValueError, RecursionError):
        pass
    return out


def _plain(answer: HttpAnswer | GitAnswer) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name in fields_of(answer):
        value = getattr(answer, name)
        if value:
            out[name] = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    return out


def _load(document: Any) -> Answers:
    if not isinstance(document, dict):
        raise TypeError("expected an object")
    if document.get("version", VERSION) != VERSION:
        raise ValueError(f"version {document['version']} is not supported")
    import json

    images = {}
    for entry in document.get("images", ()):
        platform = platforms.format_all(platforms.normalize(platforms.parse(entry["platform"])))
        key = (_string(entry["ref"]), platform, _string(entry.get("store", "")))
        config = entry.get("config", "")
        if not isinstance(config, str):
            config = json.dumps(config, ensure_ascii=False, separators=(",", ":"))
        images[key] = ImageAnswer(
            _string(entry.get("resolved", entry["ref"])),
            _string(entry.get("digest", "")),
            config.encode("utf-8", "surrogateescape"),
            _string(entry.get("error", "")),
            becomes=_string(entry.get("becomes", "")),
        )
    files: dict[tuple[str, str], bytes | None] = {}
    for name, entries in document.get("files", {}).items():
        for file, text in entries.items():
            files[name, file] = None if text is None else text.encode("utf-8", "surrogateescape")
    http = {}
    for url, entry in document.get("http", {}).items():
        texts = {key: _string(entry.get(key, "")) for key in ("digest", "last_modified", "newest", "error")}
        http[without_credentials(url)] = HttpAnswer(**texts, archive=bool(entry.get("archive", False)))
    git = {}
    for identifier, entry in document.get("git", {}).items():
        git[identifier] = GitAnswer(
            _string(entry.get("commit", "")),
            _string(entry.get("commit_object", "")).encode("utf-8", "surrogateescape"),
            _string(entry.get("error", "")),
        )
    return Answers(images, files, http, git)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a string, got {value!r}")
    return value


# --- conversations --------------------------------------------------------------------------------------


def unanswered(requests: tuple[Request, ...]) -> Answers:
    """What nobody to ask says.

    Raises:
        Unanswered: always, with the requests.
    """
    raise Unanswered(requests)


def converse(conversation: Asking[T], ask: Callable[[tuple[Request, ...]], Answers] = unanswered) -> T:
    """Carry a conversation to its end; what `ask` raises is raised at the question, as if the answer could not be read.

    Raises:
        DockcError: what `ask` raises, or the conversation itself.
    """
    try:
        wanted = next(conversation)
        while True:
            try:
                answers = ask(wanted)
            except Exception as error:
                wanted = conversation.throw(error)
            else:
                wanted = conversation.send(answers)
    except StopIteration as end:
        value: T = end.value
        return value


class Memory:
    """Answers that are kept from one conversation to the next.

    Mutable: `answers` grow while a conversation is heard.
    """

    def __init__(self, answers: Answers | None = None) -> None:
        self.answers = answers or Answers()

    def heard(self, conversation: Asking[T]) -> Asking[T]:
        """The same conversation; what is answered in it is known from then on, also when it ends with an error."""
        try:
            wanted = next(conversation)
            while True:
                try:
                    more = yield wanted
                except Exception as error:
                    wanted = conversation.throw(error)
                else:
                    self.answers = self.answers.merged(more)
                    wanted = conversation.send(more)
        except StopIteration as end:
            value: T = end.value
            return value
