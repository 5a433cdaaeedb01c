"""What a step lacks is shown with the lines that ask for it."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Dockc, MakeContext


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--mount=type=secret,id=nope,required=true", "secret nope: not found"),
        ("--mount=type=ssh,required=true", 'no SSH key "" forwarded from the client'),
        ("--device=vendor.com/x=y,required", "CDI device vendor.com/x=y is not available"),
    ],
)
def test_the_excerpt_of_what_is_missing(user: Dockc, context: MakeContext, with_base: tuple[str, str], option: str, message: str) -> None:
    folder = context(f"# syntax=docker/dockerfile:1-labs\nFROM base\nRUN {option} ls\n")
    shown = user.build(folder, *with_base, status=1)
    assert f">>> RUN {option} ls\n" in shown
    assert f"\nerror: failed to solve: {message}\n" in shown
