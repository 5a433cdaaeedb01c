"""Makes `dockc/rpc/pb` from `proto/dockc/rpc/pb/*.proto`: `python -m dockc.rpc.generate [--check]`, in a checkout.

As with the messages of LLB, the modules hold file descriptors and let the protobuf package build the classes from them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_TEMPLATE = '''"""Messages of {name}.proto. Made by `python -m dockc.rpc.generate`; do not edit."""

from google.protobuf import descriptor_pool
from google.protobuf.internal import builder
{imports}
DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
{chunks}
)
builder.BuildMessageAndEnumDescriptors(DESCRIPTOR, globals())
builder.BuildTopDescriptorsAndMessages(DESCRIPTOR, "dockc.rpc.pb.{name}_pb2", globals())
'''
_FOLDER = Path("dockc/rpc/pb")
_WIDTH = 72


def generate(proto_dir: Path) -> dict[str, str]:
    """File name in `dockc/rpc/pb` -> content, for every `.proto` file of `proto_dir`/dockc/rpc/pb."""
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc  # type: ignore[import-untyped]

    made = {"__init__.py": '"""Messages of BuildKit\'s protocol, generated."""\n'}
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        for proto in sorted((proto_dir / _FOLDER).glob("*.proto")):
            described = out / f"{proto.stem}.desc"
            arguments = ["protoc", f"-I{proto_dir}", f"--pyi_out={out}", f"--descriptor_set_out={described}"]
            if protoc.main([*arguments, str(proto)]) != 0:
                raise SystemExit(f"protoc refused {proto}")
            (file,) = descriptor_pb2.FileDescriptorSet.FromString(described.read_bytes()).file
            _forget_json_names(file.message_type)
            data = file.SerializeToString(deterministic=True)
            made[f"{proto.stem}_pb2.py"] = _TEMPLATE.format(
                name=proto.stem,
                imports="".join(
                    f"from dockc.rpc.pb import {Path(one).stem}_pb2 as {Path(one).stem}_pb2\n"
                    for one in file.dependency
                ),
                chunks="\n".join(f"    {data[i : i + _WIDTH]!r}" for i in range(0, len(data), _WIDTH)),
            )
            made[f"{proto.stem}_pb2.pyi"] = (out / _FOLDER / f"{proto.stem}_pb2.pyi").read_text()
    return made


def _forget_json_names(messages: Iterable[Any]) -> None:
    """Drop the names that the runtime derives by itself: protoc's versions differ in writing them."""
    for message in messages:
        for field in message.field:
            field.ClearField("json_name")
        _forget_json_names(message.nested_type)


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` say which differ; 1 if any does."""
    root = Path(__file__).parents[2]
    target = Path(__file__).parent / "pb"
    made = generate(root / "proto")
    if arguments == ["--check"]:
        present = {p.name for p in target.iterdir() if p.suffix in (".py", ".pyi")}
        stale = sorted(
            (present ^ made.keys()) | {n for n in present & made.keys() if (target / n).read_text() != made[n]}
        )
        for name in stale:
            sys.stderr.write(f"{target.name}/{name} is not what proto/ makes\n")
        return 1 if stale else 0
    for name, text in made.items():
        (target / name).write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
