"""Keys for Amazon by what the surroundings say, from an honest little server that checks signatures where there are any."""

from __future__ import annotations

import datetime
import json
import re
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from dockc.runtime.registry.transport import Transport, _proxy_for
from dockc.runtime.remotecache import s3, signing
from dockc.runtime.remotecache.awsidentity import Asker, Keys, domain, found
from dockc.runtime.remotecache.base import CacheEntry, CacheFailed
from dockc.runtime.remotecache.signing import AwsKeys
from tests.runtime.registry_servers import Answer, Script, Seen

LATER = "2099-01-01T00:00:00Z"
ENDS = datetime.datetime.fromisoformat(LATER).timestamp()


class Amazon:
    """The services that give keys. Mutable: what they are asked, whether the machine has tokens and a role."""

    def __init__(self) -> None:
        self.tokens, self.role, self.given, self.ends = True, "machine-role", 0, LATER

    def __call__(self, seen: Seen) -> Answer:
        if seen.path == "/sts/":
            return self._service(seen)
        if seen.path == "/latest/api/token":
            return Answer(200, b"a-token") if self.tokens and seen.method == "PUT" else Answer(404)
        if seen.path.startswith("/latest/meta-data/iam/security-credentials/"):
            if self.tokens and seen.headers.get("x-aws-ec2-metadata-token") != "a-token":
                return Answer(401)
            name = seen.path.rpartition("/")[2]
            return self._keys(name) if name else Answer(200, self.role.encode()) if self.role else Answer(404)
        if seen.path == "/task" and seen.headers.get("authorization") == "Basic task":
            return self._keys("task")
        return Answer(403, b"no")

    def _keys(self, who: str) -> Answer:
        self.given += 1
        return Answer(200, json.dumps({"AccessKeyId": who, "SecretAccessKey": "s", "Token": "t", "Expiration": self.ends}).encode())

    def _service(self, seen: Seen) -> Answer:
        asked = {key: values[0] for key, values in parse_qs(seen.body.decode()).items()}
        who = asked.get("WebIdentityToken", "")
        if asked["Action"] == "AssumeRole":
            match = re.search(r"Credential=([^/]+)/.*SignedHeaders=([^,]*)", seen.headers.get("authorization", ""))
            if match is None:
                return Answer(403, b"<Message>not signed</Message>")
            headers = {name: seen.headers[name] for name in match[2].split(";") if name not in ("host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token")}
            keys = AwsKeys(match[1], "s", seen.headers.get("x-amz-security-token", ""))
            now = datetime.datetime.strptime(seen.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
            url = f"http://{seen.headers['host']}{seen.path}"
            again = signing.aws_headers("POST", url, headers, keys, "eu-west-1", payload=sha256(seen.body).hexdigest(), service="sts", now=now)
            if again["authorization"] != seen.headers["authorization"]:
                return Answer(403, b"<Message>SignatureDoesNotMatch</Message>")
            who = match[1]
        text = f"<r><AccessKeyId>{asked['RoleArn']} {who}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
        return Answer(200, f"{text}<Expiration>{self.ends}</Expiration></r>".encode())


@pytest.fixture
def amazon() -> Iterator[tuple[Amazon, Script]]:
    service = Amazon()
    with Script(service) as server:
        yield service, server


def asked(server: Script, home: Path, config: str = "", credentials: str = "", **environment: str) -> AwsKeys | None:
    (home / ".aws").mkdir(exist_ok=True)
    (home / ".aws/config").write_text(config)
    (home / ".aws/credentials").write_text(credentials)
    services = {"AWS_ENDPOINT_URL_STS": f"{server.url}/sts", "AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url, "HOME": str(home)}
    return found(Asker(services | environment, "eu-west-1", Transport()))


def test_who_gives_keys(amazon: tuple[Amazon, Script], tmp_path: Path) -> None:
    """Each way there is, the first one first."""
    service, server = amazon
    (tmp_path / "token").write_text("pod\n")
    pod = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"), "AWS_ROLE_ARN": "r"}
    variables = {"AWS_ACCESS_KEY_ID": "v", "AWS_SECRET_ACCESS_KEY": "s"}
    both = "aws_access_key_id = {}\naws_secret_access_key = s\n"
    task = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/task", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "Basic task"}
    own = f"[default]\n{both.format('own')}[other]\n{both.format('other')}"
    role = "[profile {}]\nrole_arn = r\n{}\n"
    program = "[default]\ncredential_process = echo '{\"Version\":1,\"AccessKeyId\":\"program\",\"SecretAccessKey\":\"s\"}'\n"
    ways: list[tuple[str, str, dict[str, str], str]] = [
        ("", own, variables | pod | task, "v"),
        ("", own, pod | task, "r pod"),
        ("", own, task, "own"),
        ("", own, {"AWS_PROFILE": "other"}, "other"),
        (f"[default]\n{both.format('config')}", "", {}, "config"),
        (f"[default]\n{both.format('config')}", own, {}, "own"),
        (role.format("a", "source_profile = other"), own, {"AWS_PROFILE": "a"}, "r other"),
        (role.format("a", "source_profile = b") + role.format("b", "source_profile = other"), own, {"AWS_PROFILE": "a"}, "r r"),
        (f"[default]\nrole_arn = r\nsource_profile = default\n{both.format('config')}", "", {}, "r config"),
        (role.format("a", f"web_identity_token_file = {tmp_path}/token"), "", {"AWS_PROFILE": "a"}, "r pod"),
        (role.format("a", "credential_source = EcsContainer"), "", {"AWS_PROFILE": "a"} | task, "r task"),
        (role.format("a", "credential_source = Ec2InstanceMetadata"), "", {"AWS_PROFILE": "a"}, "r machine"),
        (program, "", {}, "program"),
        ("", "", task, "task"),
        ("", "", {}, "machine-role"),
    ]  # fmt: skip
    for config, credentials, environment, who in ways:
        got = asked(server, tmp_path, config, credentials, **environment)
        assert got is not None and got.access_key.startswith(who), (who, got)
        if who not in ("v", "own", "other", "config", "program"):
            assert got.expires == ENDS, who
    service.tokens = False
    got = asked(server, tmp_path)
    assert got is not None and got.access_key == "machine-role", "version 1 of the metadata service has no tokens"
    service.role = ""
    assert asked(server, tmp_path) is None
    before = len(server.seen)
    assert asked(server, tmp_path, AWS_EC2_METADATA_DISABLED="true") is None
    assert len(server.seen) == before


@pytest.mark.parametrize(
    ("config", "environment", "said"),
    [
        ("[profile a]\nrole_arn = r\nsource_profile = b\n[profile b]\nrole_arn = r\nsource_profile = a\n", {"AWS_PROFILE": "a"}, "in a circle"),
        ("[profile a]\nrole_arn = r\nsource_profile = gone\n", {"AWS_PROFILE": "a"}, "the profile gone of AWS is not there"),
        ("[profile a]\nrole_arn = r\n", {"AWS_PROFILE": "a"}, "nobody who may ask for it"),
        ("[profile a]\nsso_session = s\n", {"AWS_PROFILE": "a"}, "by a browser, which is not supported"),
        ("[default]\ncredential_process = echo hunter2 >&2; exit 3\n", {}, "credential_process of the AWS profile ended with 3"),
        ("[default]\ncredential_process = echo hunter2\n", {}, "gives no credentials for AWS"),
        ("", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/x"}, "neither https nor on this machine"),
        ("", {"AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere", "AWS_ROLE_ARN": "r"}, "cannot read /nowhere"),
    ],
)  # fmt: skip
def test_who_gives_none_is_told(amazon: tuple[Amazon, Script], tmp_path: Path, config: str, environment: dict[str, str], said: str) -> None:
    with pytest.raises(CacheFailed, match=said) as caught:
        asked(amazon[1], tmp_path, config, "", **environment)
    assert "hunter2" not in str(caught.value)


def test_keys_that_run_out_are_renewed(amazon: tuple[Amazon, Script], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service, server = amazon
    environment = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url, "HOME": str(tmp_path)}
    keys = Keys(Asker(environment, "eu-west-1", Transport()), None)
    service.ends = datetime.datetime.fromtimestamp(time.time() + 3600, datetime.UTC).isoformat()
    for _ in range(3):
        assert keys.now() is not None
    assert service.given == 1
    later = time.time() + 3400
    monkeypatch.setattr(time, "time", lambda: later)
    assert keys.now() is not None
    assert service.given == 2
    assert Keys(Asker(environment, "eu-west-1", Transport()), AwsKeys("own", "s")).now() == AwsKeys("own", "s")


def test_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """China's services are elsewhere, and no proxy stands before a machine's own metadata."""
    assert (domain("eu-west-1"), domain("cn-north-1")) == ("amazonaws.com", "amazonaws.com.cn")
    entry = CacheEntry("s3", {"bucket": "b", "region": "cn-north-1", "access_key_id": "k", "secret_access_key": "s"})
    assert s3.settings(entry, {}).keys == AwsKeys("k", "s")
    monkeypatch.setenv("http_proxy", "http://proxy:1")
    assert [_proxy_for("http", host) for host in ("169.254.169.254", "127.0.0.1", "fe80::1", "example.com")] == ["", "", "", "http://proxy:1"]
