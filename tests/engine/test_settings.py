"""Settings of the user."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockc.engine import settings
from dockc.errors import UsageError


def test_settings_come_from_one_file(tmp_path: Path) -> None:
    assert settings.load({"HOME": str(tmp_path)}) == {}
    path = tmp_path / ".config" / "dockc" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text('[registries."localhost:5000"]\nhttp = true\n')
    assert settings.registries({"HOME": str(tmp_path)}) == {"localhost:5000": {"http": True}}
    path.write_text("[nonsense]\n")
    with pytest.raises(UsageError, match=r"unknown table \[nonsense\]"):
        settings.load({"HOME": str(tmp_path)})
    path.write_text("[")
    with pytest.raises(UsageError, match=r"config\.toml"):
        settings.load({"HOME": str(tmp_path)})
    with pytest.raises(UsageError, match="does not exist"):
        settings.load({"DOCKC_CONFIG": str(tmp_path / "nope")})
