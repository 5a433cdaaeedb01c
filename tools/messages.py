"""Makes the modules of messages from `proto/`: `python tools/messages.py [--check]`.

`dockc/llb/pb` has the messages of `proto/*.proto`, `dockc/rpc/pb` those of `proto/dockc/rpc/pb/*.proto`. The modules hold
file descriptors and let the protobuf package build the classes from them, so that they work with every version of it that
we allow (protoc's own output is tied to the version that wrote it). Needs the packages of the `dev` extra.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "dockc.llb.pb": (Path(), ""),
    "dockc.rpc.pb": (Path("dockc/rpc/pb"), '"""Messages of BuildKit\'s protocol, generated."""\n'),
}
"""By package: where its `.proto` files lie in `proto/`, and what its `__init__` says."""
_TEMPLATE = '''"""Messages of {name}.proto. Made by `python tools/messages.py`; do not edit."""

from google.protobuf import descriptor_pool
from google.protobuf.internal import builder
{imports}
DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
{chunks}
)
builder.BuildMessageAndEnumDescriptors(DESCRIPTOR, globals())
builder.BuildTopDescriptorsAndMessages(DESCRIPTOR, "{package}.{name}_pb2", globals())
'''
_WIDTH = 72


def generate(package: str) -> dict[str, str]:
    """The modules of a package: file name -> content."""
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc  # type: ignore[import-untyped]

    folder, about = PACKAGES[package]
    made = {"__init__.py": about}
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        for proto in sorted((ROOT / "proto" / folder).glob("*.proto")):
            described = out / f"{proto.stem}.desc"
            arguments = ["protoc", f"-I{ROOT / 'proto'}", f"--pyi_out={out}", f"--descriptor_set_out={described}"]
            if protoc.main([*arguments, str(proto)]) != 0:
                raise SystemExit(f"protoc refused {proto}")
            (file,) = descriptor_pb2.FileDescriptorSet.FromString(described.read_bytes()).file
            _forget_json_names(file.message_type)
            data = file.SerializeToString(deterministic=True)
            needs = [f"{Path(one).stem}_pb2" for one in file.dependency]
            made[f"{proto.stem}_pb2.py"] = _TEMPLATE.format(
                name=proto.stem,
                package=package,
                imports="".join(f"from {package} import {one} as {one}\n" for one in needs),
                chunks="\n".join(f"    {data[i : i + _WIDTH]!r}" for i in range(0, len(data), _WIDTH)),
            )
            made[f"{proto.stem}_pb2.pyi"] = (out / folder / f"{proto.stem}_pb2.pyi").read_text()
    return made


def _forget_json_names(messages: Iterable[Any]) -> None:
    """Drop the names that the runtime derives by itself: protoc's versions differ in writing them."""
    for message in messages:
        for field in message.field:
            field.ClearField("json_name")
        _forget_json_names(message.nested_type)


def stale(package: str) -> list[str]:
    """Modules of a package that are not what `proto/` makes, or should not be there."""
    made, target = generate(package), ROOT / package.replace(".", "/")
    present = {path.name for path in target.iterdir() if path.suffix in (".py", ".pyi")}
    other = {name for name in present & made.keys() if (target / name).read_text() != made[name]}
    return sorted((present ^ made.keys()) | other)


def main(arguments: list[str]) -> int:
    """Write the modules, or with `--check` say which differ; 1 if any does."""
    if arguments == ["--check"]:
        found = [f"{package}: {name} is not what proto/ makes\n" for package in PACKAGES for name in stale(package)]
        sys.stderr.write("".join(found))
        return 1 if found else 0
    for package in PACKAGES:
        for name, text in generate(package).items():
            (ROOT / package.replace(".", "/") / name).write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
