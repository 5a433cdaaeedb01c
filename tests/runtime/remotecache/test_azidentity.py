"""Tokens for Azure by what the surroundings say, from an honest little server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from dockc.errors import UsageError
from dockc.runtime.remotecache import azblob, azidentity
from dockc.runtime.remotecache.base import CacheEntry, CacheFailed


class _Identities(BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, status: int, document: dict[str, str]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        asked = {key: values[0] for key, values in parse_qs(self.rfile.read(int(self.headers["content-length"])).decode()).items()}
        good = self.path == "/tenant/oauth2/v2.0/token" and asked["scope"] == "https://storage.azure.com/.default" and asked["client_id"] == "me"
        if good and asked.get("client_secret") == "secret":
            return self._answer(200, {"access_token": "by secret"})
        if good and asked.get("client_assertion") == "a pod's":
            return self._answer(200, {"access_token": "by pod"})
        return self._answer(401, {"error_description": "AADSTS7000215: wrong"})

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = parse_qs(parts.query)
        if asked["resource"] != ["https://storage.azure.com"]:
            return self._answer(400, {})
        if parts.path == "/metadata/identity/oauth2/token" and self.headers["metadata"] == "true":
            return self._answer(200, {"access_token": "by machine"})
        if parts.path == "/app" and self.headers["x-identity-header"] == "header":
            return self._answer(200, {"access_token": "by app"})
        if parts.path == "/deep/metadata/identity/oauth2/token":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[" * 100_000)
            return None
        return self._answer(404, {})


@pytest.fixture(scope="module")
def here() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Identities) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_each_way(here: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a pod's\n")
    me = {"AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "me", "AZURE_AUTHORITY_HOST": f"{here}/"}
    metadata = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": here}
    assert azidentity.token({**me, "AZURE_CLIENT_SECRET": "secret"}) == "by secret"
    assert azidentity.token({**me, "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token")}) == "by pod"
    assert azidentity.token(metadata) == "by machine"
    assert azidentity.token({**me, "AZURE_CLIENT_SECRET": "wrong", **metadata}) == "by machine"
    assert azidentity.token({"IDENTITY_ENDPOINT": f"{here}/app", "IDENTITY_HEADER": "header"}) == "by app"


def test_nobody_gives_one(here: str, tmp_path: Path) -> None:
    me = {"AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "me", "AZURE_AUTHORITY_HOST": here, "AZURE_CLIENT_SECRET": "hunter2"}
    az = tmp_path / "az"
    az.write_text("#!/bin/sh\necho 'Please run az login' >&2\nexit 1\n")
    az.chmod(0o755)
    with pytest.raises(CacheFailed) as caught:
        azidentity.token({**me, "AZURE_POD_IDENTITY_AUTHORITY_HOST": f"{here}/nothing", "PATH": str(tmp_path)})
    assert "AADSTS7000215" in caught.value.message
    assert "Please run az login" in caught.value.message
    assert "hunter2" not in caught.value.message
    az.write_text("""#!/bin/sh\necho '{"accessToken": "by login"}'\n""")
    assert azidentity.token({**me, "AZURE_POD_IDENTITY_AUTHORITY_HOST": f"{here}/nothing", "PATH": str(tmp_path)}) == "by login"


def test_an_answer_that_is_nested_too_deeply_is_none(here: str) -> None:
    with pytest.raises(CacheFailed, match="managed identity: nested too deeply"):
        azidentity.token({"AZURE_POD_IDENTITY_AUTHORITY_HOST": f"{here}/deep", "PATH": ""})


def test_a_token_is_not_sent_for_all_to_read() -> None:
    with pytest.raises(UsageError, match="needs https"):
        azblob.settings(CacheEntry("azblob", {"account_url": "http://account.blob.core.windows.net"}), {})
    assert azblob.settings(CacheEntry("azblob", {"account_url": "https://account.blob.core.windows.net"}), {}).account == "account"
