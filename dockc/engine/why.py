"""Why a step ran: its key compared with those of the same step in other builds.

Steps of two builds belong together by digest, else by what is written, else by their place in a stage. Of all that a
step can be compared with the nearest counts: the one with the fewest differences, and of equals the newest. What is
said is the first part of the key that is another: the operation itself, then what it stands on, then files.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dockc.base.hashing import sha256
from dockc.engine.listings import FileListings
from dockc.engine.told import Step, Told
from dockc.errors import HIDDEN
from dockc.llb.modes import MountKind, Network, Security
from dockc.solver.cache.miss import changes_of, same_input
from dockc.solver.cache.storage.base import KeyRecord
from dockc.solver.keydiff import Change, InputKey, KeyDiff, MissReason, StepKey

FILES = 20
"""Files that are told one by one."""
_CHANGES = 50

Removal = Callable[[str], tuple[str, int] | None]
"""By which rule and when the key of an id lost its result; None where that is not known."""


_AGENT = "SSH_AUTH_SOCK"
_PLATFORM = ("OS", "Arch", "Variant")
_MODES = {"Exec.network": ("default", *Network.NAMES[1:]), "Exec.security": Security.NAMES}


class Comparison:
    """One build's steps and what they are compared with.

    Mutable: what was worked out once (`_same`, `_pairs`).
    """

    def __init__(
        self, now: Told, before: Sequence[Told], listings: FileListings, removal: Removal, *, strict: bool = False
    ) -> None:
        """Compare `now` with `before`, the newest first.

        Args:
            now: its steps may still become more.
            before: other builds.
            listings: tell contents file by file.
            removal: tells where results went.
            strict: nothing but `before` is looked at: what has no fellow there is unknown, whatever caches were read.
        """
        self.now, self.before = now, before
        self._listings, self._removal, self._strict = listings, removal, strict
        self._same: dict[tuple[str, str], str] = {}
        self._pairs: dict[str, tuple[int, dict[str, Step]]] = {}

    def explain(self, step: Step, record: KeyRecord | None = None, earlier: Sequence[KeyRecord] = ()) -> KeyDiff:
        """Why a step of `now` ran.

        Args:
            step: the step.
            record: its key as the store will have it, to compare with `earlier`.
            earlier: keys that the store remembers of steps like it, for those that no build tells of.
        """
        if step.key.told:
            return self._diff(step, MissReason.TOLD)
        candidates: list[tuple[tuple[int, int, int], Step, Told, list[Change], list[int]]] = []
        for number, told in enumerate(self.before):
            old = self._pair(told).get(step.key.vertex)
            if old is not None:
                changes, inputs = self._differences(step, old, told)
                candidates.append(((len(changes), len(inputs), number), old, told, changes, inputs))
        for number, other in enumerate(earlier if record is not None else (), len(self.before)):
            assert record is not None
            told = _of_record(other, step)
            old = next(iter(told.steps.values()))
            changes, _ = self._differences(step, old, told)
            inputs = [i for i in range(len(step.key.inputs)) if not same_input(record, other, i)]
            candidates.append(((len(changes), len(inputs), number), old, told, changes, inputs))
        if not candidates:
            if self.now.imports and not self._strict:
                changes = [Change(name, None, None) for name in self.now.imports]
                return self._diff(step, MissReason.IMPORT, changes=changes)
            return self._diff(step, MissReason.UNKNOWN)
        _, old, told, changes, inputs = min(candidates, key=lambda one: one[0])
        if changes:
            return self._operation(step, old, told, changes)
        if inputs:
            return self._inputs(step, old, told, inputs)
        return self._removed(step, old, told)

    # --- which steps belong together --------------------------------------------------------------------

    def _pair(self, told: Told) -> dict[str, Step]:
        """For the steps of this build, by digest, the fellow in another."""
        count, found = self._pairs.get(told.ref, (-1, {}))
        if count != len(self.now.steps):
            found = pairs(self.now, told)
            self._pairs[told.ref] = len(self.now.steps), found
        return found

    # --- what differs -----------------------------------------------------------------------------------

    def _differences(self, step: Step, old: Step, told: Told) -> tuple[list[Change], list[int]]:
        """What is another in the operation, and which inputs are."""
        changes: list[Change] = []
        if step.key.digest != old.key.digest:
            changes = list(changes_of("", old.key.preimage, step.key.preimage))[:_CHANGES]
            changes = changes or [Change("digest", old.key.digest, step.key.digest)]
        news, olds = step.key.inputs, old.key.inputs
        inputs = [
            i
            for i in range(max(len(news), len(olds)))
            if i >= len(news) or i >= len(olds) or not self._same_input(step.key, old.key, told, i)
        ]
        return changes, inputs

    def _same_input(self, new: StepKey, old: StepKey, told: Told, i: int) -> bool:
        one, other = new.inputs[i], old.inputs[i]
        if one.content and other.content:
            return one.content == other.content
        if one.selector != other.selector or one.index != other.index:
            return False
        below, under = self.now.steps.get(one.vertex), told.steps.get(other.vertex)
        if below is not None and under is not None and below.key.key and below.key.key == under.key.key:
            return True  # one result, by whichever names of its own inputs it was found
        return self._identity(self.now, one.vertex) == self._identity(told, other.vertex)

    def _identity(self, told: Told, vertex: str) -> str:
        """A digest of all that a step's key is made of. Iterative: chains may be long."""
        stack = [vertex]
        while stack:
            top = stack[-1]
            if (told.ref, top) in self._same:
                stack.pop()
                continue
            step = told.steps.get(top)
            if step is None:
                self._same[told.ref, top] = top
                stack.pop()
                continue
            open_ = [
                one.vertex for one in step.key.inputs if not one.content and (told.ref, one.vertex) not in self._same
            ]
            if open_:
                stack += open_
                continue
            stack.pop()
            parts = [step.key.digest]
            parts += [
                one.content or f"{self._same[told.ref, one.vertex]}@{one.index} {one.selector}"
                for one in step.key.inputs
            ]
            self._same[told.ref, top] = sha256("\n".join(parts).encode())
        return self._same[told.ref, vertex]

    # --- in which way -----------------------------------------------------------------------------------

    def _diff(self, step: Step, reason: MissReason, **more: Any) -> KeyDiff:
        more["changes"] = tuple(more.get("changes", ()))
        return KeyDiff(step.key.vertex, step.key.name, reason, **more)

    def _operation(self, step: Step, old: Step, told: Told, changes: list[Change]) -> KeyDiff:
        another_text = step.text != old.text
        said = Change("", old.text, step.text)
        kind = step.key.kind
        if kind != old.key.kind:
            return self._diff(step, MissReason.INSTRUCTION, changes=[said], ref=told.ref)
        if kind == "source":
            return self._source(step, old, told, said if another_text else None)
        if kind == "exec":
            return self._exec(step, old, told, changes, said if another_text else None)
        if another_text:
            return self._diff(step, MissReason.INSTRUCTION, changes=[said], ref=told.ref)
        if (found := self._arguments(step, told)) is not None:
            return found
        if texts := [one for one in map(_document, changes) if one is not None]:
            return self._diff(step, MissReason.INSTRUCTION, changes=texts, ref=told.ref)
        return self._diff(step, MissReason.OPERATION, changes=_worded(changes, old.key, step.key), ref=told.ref)

    def _exec(self, step: Step, old: Step, told: Told, changes: list[Change], said: Change | None) -> KeyDiff:
        if said is not None and any(one.path.startswith("Exec.meta.args") or one.path == "large" for one in changes):
            return self._diff(step, MissReason.INSTRUCTION, changes=[said], ref=told.ref)
        before, after = _environment(old.key), _environment(step.key)
        names = [name for name in dict.fromkeys((*before, *after)) if before.get(name) != after.get(name)]
        if _has_agent(old.key) != _has_agent(step.key):
            names = [name for name in names if name != _AGENT]  # it comes and goes with the mount
        if not names and all(one.path == "digest" for one in changes):  # what was left out is what differs
            names = [name for name in after if after[name] == HIDDEN == before.get(name)]
        if names:
            others = [name for name in names if not (name in self.now.args or name in told.args)]
            found = [Change(name, before.get(name), after.get(name)) for name in (others or names)]
            reason = MissReason.ENVIRONMENT if others else MissReason.ARGUMENT
            return self._diff(step, reason, changes=found, ref=told.ref)
        if any(one.path.startswith("Exec.mounts") for one in changes):
            found = _mounts(old.key, step.key)
            return self._diff(step, MissReason.MOUNT, changes=found or changes, ref=told.ref)
        if any(one.path.startswith("Exec.secretenv") for one in changes):
            found = _secret_variables(old.key, step.key)
            return self._diff(step, MissReason.MOUNT, changes=found or changes, ref=told.ref)
        if said is not None and any(one.path == "digest" for one in changes):
            return self._diff(step, MissReason.INSTRUCTION, changes=[said], ref=told.ref)
        return self._diff(step, MissReason.OPERATION, changes=_worded(changes, old.key, step.key), ref=told.ref)

    def _source(self, step: Step, old: Step, told: Told, said: Change | None) -> KeyDiff:
        (name, pin), (old_name, old_pin) = _identified(step.key), _identified(old.key)
        if name != old_name:
            if said is not None:
                return self._diff(step, MissReason.INSTRUCTION, changes=[said], ref=told.ref)
            if (found := self._arguments(step, told)) is not None:
                return found
        change = Change(name, old_pin or old.key.digest, pin or step.key.digest)
        return self._diff(step, MissReason.BASE, changes=[change], source=name, ref=told.ref)

    def _arguments(self, step: Step, told: Told) -> KeyDiff | None:
        """Arguments that the instruction names and that have other values."""
        named = dict.fromkeys(re.findall(r"\$\{?([A-Za-z_]\w*)", step.text))
        found = [
            Change(name, told.args.get(name), self.now.args.get(name))
            for name in named
            if told.args.get(name) != self.now.args.get(name)
        ]
        if not found:
            hidden = [name for name in named if told.args.get(name) == HIDDEN == self.now.args.get(name)]
            found = [Change(name, HIDDEN, HIDDEN) for name in hidden]
        return self._diff(step, MissReason.ARGUMENT, changes=found, ref=told.ref) if found else None

    def _inputs(self, step: Step, old: Step, told: Told, inputs: list[int]) -> KeyDiff:
        news, olds = step.key.inputs, old.key.inputs
        # What it stands on comes before the files that it takes.
        for i in sorted(inputs, key=lambda i: i < len(news) and bool(news[i].content)):
            if i >= len(news) or i >= len(olds):
                continue
            one, other = news[i], olds[i]
            below, under = self.now.steps.get(one.vertex), told.steps.get(other.vertex)
            if one.content and other.content:
                files, more = self._listings.compare(other.listing, one.listing, limit=FILES) or ((), 0)
                return self._diff(
                    step, MissReason.CONTENT, inputs=(i,), files=files, more=more, source=one.label, ref=told.ref
                )
            if _is_still(below) and below is not None and under is not None and under.key.kind == "source":
                found = self._source(below, under, told, _said(below, under))
                return self._diff(
                    step, found.reason, changes=found.changes, inputs=(i,), source=found.source, ref=told.ref
                )
            return self._diff(step, MissReason.INPUT, inputs=(i,), source=one.label, ref=told.ref)
        return self._diff(step, MissReason.INPUT, inputs=tuple(inputs), ref=told.ref)

    def _removed(self, step: Step, old: Step, told: Told) -> KeyDiff:
        rule, at = (self._removal(old.key.key) if old.key.key else None) or ("", 0)
        changes = [Change("rule", rule, None)] if rule else []
        return self._diff(step, MissReason.RESULT, changes=changes, at=at, ref=told.ref)


def pairs(now: Told, then: Told) -> dict[str, Step]:
    """For steps of one build, by digest, the steps of another that belong to them."""
    found: dict[str, Step] = {}
    left = dict(then.steps)
    open_ = [step for step in now.steps.values() if not step.is_local]
    for step in open_:
        if step.key.vertex in left:
            found[step.key.vertex] = left.pop(step.key.vertex)
    names: Sequence[Callable[[Step], object]] = (
        lambda step: (step.place[0], step.text, step.key.kind) if step.text else None,
        lambda step: (step.text, step.key.kind) if step.text else None,
        lambda step: step.key.digest or None,
        lambda step: (step.place, step.key.kind == "source") if step.place[1] else None,
    )
    for name in names:
        by_name: dict[object, list[Step]] = {}
        for step in reversed(tuple(left.values())):
            if not step.is_local and (called := name(step)) is not None:
                by_name.setdefault(called, []).append(step)
        for step in open_:
            if step.key.vertex in found:
                continue
            called = name(step)
            fellows = by_name.get(called) if called is not None else None
            if fellows:
                fellow = fellows.pop()
                found[step.key.vertex] = fellow
                del left[fellow.key.vertex]
    return found


def _of_record(record: KeyRecord, step: Step) -> Told:
    """What a store remembers of a key, as a build of one step."""
    inputs = tuple(
        InputKey("", one.index, one.selector, str(record.inputs[i].get("content") or ""), one.label)
        for i, one in enumerate(step.key.inputs)
        if i < len(record.inputs)
    )
    kind = step.key.kind
    key = StepKey(record.vertex, record.name, kind, record.digest, record.preimage, inputs, record.key)
    text = step.text if record.name == step.key.name else record.name.partition("] ")[2] or record.name
    return Told(f"store {record.key}", {record.vertex: Step(key, text)})


def _is_still(below: Step | None) -> bool:
    """Whether an input is a source that was there already: then what stands on it is the first to tell of its change."""
    return below is not None and below.key.kind == "source" and not below.ran and not below.is_local


def _said(below: Step, under: Step) -> Change | None:
    return None if below.text == under.text else Change("", under.text, below.text)


def _environment(key: StepKey) -> dict[str, str]:
    meta = _at(key.preimage, "Exec", "meta", "env")
    return dict(text.partition("=")[::2] for text in meta if isinstance(text, str)) if isinstance(meta, list) else {}


def _at(value: object, *path: str) -> object:
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _identified(key: StepKey) -> tuple[str, str]:
    """Name and digest of what a source stands for."""
    identifier = str(_at(key.preimage, "identifier") or "")
    pin = str(_at(key.preimage, "pin") or "")
    scheme, _, rest = identifier.partition("://")
    name, _, digest = rest.partition("@")
    if scheme in {"docker-image", "oci-layout"}:
        return name, digest or pin
    return identifier, pin


def _mounts(old: StepKey, new: StepKey) -> list[Change]:
    """In which way mounts differ, by their targets."""
    before, after = _by_target(old), _by_target(new)
    found: list[Change] = []
    gone = {target: one for target, one in before.items() if target not in after}
    for target, one in after.items():
        other = before.get(target)
        kind = _mount_kind(one)
        if other is not None:
            found += [Change(f"{kind} {target} {_option(c.path)}", c.old, c.new) for c in changes_of("", other, one)]
            continue
        twin = next((place for place, mount in gone.items() if _mount_kind(mount) == kind), None)
        if twin is None:
            found.append(Change(target, None, _mount_text(one)))
        elif (old_id := _mount_id(gone[twin])) != (new_id := _mount_id(one)):
            found.append(Change(f"{kind} id", old_id, new_id))
        else:
            found.append(Change(f"{kind} target", twin, target))
        if twin is not None:
            del gone[twin]
    found += [Change(target, _mount_text(one), None) for target, one in gone.items()]
    return found[:_CHANGES]


def _secret_variables(old: StepKey, new: StepKey) -> list[Change]:
    """In which way secrets differ that come as variables, in the words of mounts."""
    before, after = (_rows(key, "secretenv") for key in (old, new))
    found: list[Change] = []
    nothing: Mapping[str, Any] = {}
    for i in range(max(len(before), len(after))):
        one, other = (rows[i] if i < len(rows) else nothing for rows in (before, after))
        for name, word in (("ID", "id"), ("name", "env"), ("optional", "optional")):
            if one.get(name) != other.get(name):
                found.append(Change(f"secret {word}", one.get(name), other.get(name)))
    return found[:_CHANGES]


def _has_agent(key: StepKey) -> bool:
    return any(_mount_kind(mount) == "ssh" for mount in _by_target(key).values())


def _document(change: Change) -> Change | None:
    """For the content of a file that stands in the Dockerfile (a heredoc), its text."""
    if not change.path.endswith("mkfile.data"):
        return None
    try:
        old, new = (b64decode(str(value or ""), validate=True).decode() for value in (change.old, change.new))
    except ValueError:
        return None
    return Change("", old, new)


def _worded(changes: Sequence[Change], old: StepKey, new: StepKey) -> list[Change]:
    """Parts of an operation as people write them: a platform in one word, modes by their names."""
    out: list[Change] = []
    for one in changes:
        if one.path in _PLATFORM:
            change = Change("platform", _platform(old), _platform(new))
            out += [] if change in out else [change]
        elif one.path in _MODES:
            out.append(Change(one.path, *(_mode(_MODES[one.path], value) for value in (one.old, one.new))))
        elif one.path.endswith(".extraHosts"):
            out.append(Change(one.path, _hosts(one.old), _hosts(one.new)))
        else:
            out.append(one)
    return out


def _hosts(value: object) -> str | None:
    """Names of hosts that a step knows besides; addresses are in no key."""
    rows = [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
    return ", ".join(str(one.get("Host", "")) for one in rows) or None


def _platform(key: StepKey) -> str:
    return "/".join(str(part) for part in (_at(key.preimage, name) for name in _PLATFORM) if isinstance(part, str))


def _mode(names: Sequence[str], value: object) -> str:
    number = value or 0
    return names[number] if isinstance(number, int) and number < len(names) else str(value)


def _by_target(key: StepKey) -> dict[str, Mapping[str, Any]]:
    return {str(one.get("dest", "")): one for one in _rows(key, "mounts") if one.get("dest") != "/"}


def _rows(key: StepKey, name: str) -> list[Mapping[str, Any]]:
    """A list of messages of an exec."""
    rows = _at(key.preimage, "Exec", name)
    return [one for one in rows if isinstance(one, Mapping)] if isinstance(rows, list) else []


def _mount_kind(mount: Mapping[str, Any]) -> str:
    number = mount.get("mountType", 0)
    return MountKind.NAMES[number] if isinstance(number, int) and number < len(MountKind.NAMES) else "mount"


def _mount_id(mount: Mapping[str, Any]) -> str:
    return next((str(opt["ID"]) for opt in mount.values() if isinstance(opt, Mapping) and opt.get("ID")), "")


def _mount_text(mount: Mapping[str, Any]) -> str:
    return f"{_mount_kind(mount)} {_mount_id(mount)}".rstrip()


def _option(path: str) -> str:
    """What people call a part of a mount."""
    last = path.rpartition(".")[2]
    return {"ID": "id", "mountType": "type", "TmpfsOpt": "size", "resultID": "result"}.get(last, last)
