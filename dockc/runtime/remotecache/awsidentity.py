"""Who asks Amazon where the options give no keys: by what the surroundings say, in the order of Amazon's own libraries.

Keys of the environment, a role by a pod's token (`AWS_WEB_IDENTITY_TOKEN_FILE`), the profile of the user's files (keys, a
role by another profile, a role by a token, a program that prints keys), the container that this runs in, and last the
machine. Who signs in by a browser (SSO) is told that this cannot be.

Source: AWS SDKs and Tools Reference Guide, "Standardized credential providers"; Amazon EC2 User Guide, "Instance metadata".
"""

from __future__ import annotations

import configparser
import datetime
import json
import subprocess
import threading
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from dockc.base.files import read_regular
from dockc.base.record import Record, replace
from dockc.errors import RegistryError
from dockc.runtime.registry.hosts import is_loopback
from dockc.runtime.registry.transport import Limits, Response, Transport
from dockc.runtime.remotecache import signing
from dockc.runtime.remotecache.base import CacheFailed
from dockc.runtime.remotecache.objects import checked
from dockc.runtime.remotecache.signing import AwsKeys

_METADATA = "http://169.254.169.254"
_CONTAINER = "http://169.254.170.2"
_NEAR = ("169.254.170.2", "169.254.170.23", "fd00:ec2::23")
_ANSWER = 1 << 20
_FILE_LIMIT = 1 << 20
_PROGRAM_SECONDS = 60
_DEEP = 5
_EARLY = 300.0
"""Seconds before their end that keys are renewed."""


class Asker(Record):
    """Where keys come from.

    Attributes:
        environment: variables.
        region: of the bucket.
        transport: to ask services by.
        cancelled: the build's cancel event.
    """

    environment: Mapping[str, str]
    region: str
    transport: Transport
    cancelled: threading.Event | None = None


class Keys:
    """The keys of a cache, renewed when they run out. Mutable; from several threads."""

    def __init__(self, asker: Asker, given: AwsKeys | None) -> None:
        self._asker = asker
        self._lock = threading.Lock()
        self._found = given
        self._until = float("inf") if given is not None else 0.0

    def now(self) -> AwsKeys | None:
        """Keys that are good; None where there is nobody to ask as.

        Raises:
            CacheFailed: who was to give them does not.
            RegistryError: he cannot be asked.
        """
        with self._lock:
            if time.time() > self._until - _EARLY:
                self._found = found(self._asker)
                ends = self._found.expires if self._found is not None else 0.0
                self._until = max(ends, time.time() + 2 * _EARLY) if ends else float("inf")
            return self._found


def found(asker: Asker) -> AwsKeys | None:
    """Keys by the surroundings; None where there are none.

    Raises:
        CacheFailed: who is named there does not give them.
        RegistryError: he cannot be asked.
    """
    environment = asker.environment
    if (keys := _of_variables(environment)) is not None:
        return keys
    if environment.get("AWS_WEB_IDENTITY_TOKEN_FILE") and environment.get("AWS_ROLE_ARN"):
        role = {
            "role_arn": environment["AWS_ROLE_ARN"],
            "web_identity_token_file": environment["AWS_WEB_IDENTITY_TOKEN_FILE"],
            "role_session_name": environment.get("AWS_ROLE_SESSION_NAME", ""),
        }
        return _by_token(asker, role)
    profile = environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE") or "default"
    profiles = read_profiles(environment)
    if profile in profiles and (keys := _of_profile(asker, profiles, profile, _DEEP)) is not None:
        return keys
    return _of_container(asker) or _of_machine(asker)


def _of_variables(environment: Mapping[str, str]) -> AwsKeys | None:
    key, secret = environment.get("AWS_ACCESS_KEY_ID", ""), environment.get("AWS_SECRET_ACCESS_KEY", "")
    return AwsKeys(key, secret, environment.get("AWS_SESSION_TOKEN", "")) if key and secret else None


# --- profiles -----------------------------------------------------------------------------------------


def read_profiles(environment: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The profiles of the user's files, by name; what the file of credentials says wins. Files that are none say nothing."""
    home = Path(environment.get("HOME", "/")) / ".aws"
    found: dict[str, dict[str, str]] = {}
    for variable, name, prefix in (
        ("AWS_CONFIG_FILE", "config", "profile "),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", ""),
    ):
        parser = configparser.ConfigParser(interpolation=None, strict=False, default_section="\0")
        try:
            parser.read_string(read_regular(environment.get(variable) or home / name, _FILE_LIMIT).decode())
        except (OSError, ValueError, configparser.Error):
            continue
        for section in parser.sections():
            if section == "default" or section.startswith(prefix):
                found.setdefault(section.removeprefix(prefix).strip(), {}).update(parser[section])
    return found


def _of_profile(
    asker: Asker, profiles: Mapping[str, Mapping[str, str]], name: str, depth: int, *, as_source: bool = False
) -> AwsKeys | None:
    """What a profile gives. A role's source may be the profile itself: then its own keys are meant."""
    own = profiles.get(name)
    if own is None or not depth:
        raise CacheFailed(f"the profile {name} of AWS is not there, or profiles name each other in a circle")
    keys = AwsKeys(
        own.get("aws_access_key_id", ""), own.get("aws_secret_access_key", ""), own.get("aws_session_token", "")
    )
    whole = keys if keys.access_key and keys.secret else None
    if own.get("role_arn") and not as_source:
        if own.get("web_identity_token_file"):
            return _by_token(asker, own)
        return _by_role(asker, own, _source(asker, profiles, name, own, depth))
    if whole is not None:
        return whole
    if command := own.get("credential_process"):
        return _of_program(command, asker.environment)
    if own.get("sso_start_url") or own.get("sso_session"):
        raise CacheFailed(
            f"the profile {name} of AWS signs in by a browser, which is not supported",
            hint="`aws configure export-credentials --format env` prints keys for the environment.",
        )
    return None


def _source(
    asker: Asker, profiles: Mapping[str, Mapping[str, str]], name: str, own: Mapping[str, str], depth: int
) -> AwsKeys:
    """Who asks for a role."""
    where = own.get("credential_source", "")
    if source := own.get("source_profile"):
        keys = _of_profile(asker, profiles, source, depth - 1, as_source=source == name)
    else:
        keys = {
            "Environment": lambda: _of_variables(asker.environment),
            "EcsContainer": lambda: _of_container(asker),
            "Ec2InstanceMetadata": lambda: _of_machine(asker),
        }.get(where, lambda: None)()
    if keys is None:
        raise CacheFailed(f"the profile {name} of AWS has a role, and nobody who may ask for it")
    return keys


def _of_program(command: str, environment: Mapping[str, str]) -> AwsKeys:
    """The keys that the user's own program prints."""
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROGRAM_SECONDS,
            check=False, env=dict(environment),
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        raise CacheFailed("the credential_process of the AWS profile cannot be run, or does not end") from None
    if done.returncode:
        raise CacheFailed(f"the credential_process of the AWS profile ended with {done.returncode}")
    return _of_json(done.stdout, "SessionToken", "the credential_process of the AWS profile")


# --- services -----------------------------------------------------------------------------------------


def domain(region: str) -> str:
    """Where Amazon's services of a region are."""
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


def _by_token(asker: Asker, role: Mapping[str, str]) -> AwsKeys:
    """Keys for a role by a token that somebody else vouches for."""
    file = role["web_identity_token_file"]
    try:
        token = read_regular(file, _FILE_LIMIT).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CacheFailed(f"cannot read {file}: {error}") from None
    return _assumed(asker, "AssumeRoleWithWebIdentity", {**_role(role), "WebIdentityToken": token}, None)


def _by_role(asker: Asker, role: Mapping[str, str], keys: AwsKeys) -> AwsKeys:
    """Keys for a role that others may take."""
    return _assumed(asker, "AssumeRole", _role(role), keys)


def _role(role: Mapping[str, str]) -> dict[str, str]:
    asked = {"RoleArn": role["role_arn"], "RoleSessionName": role.get("role_session_name") or "dockc"}
    more = {"ExternalId": role.get("external_id", ""), "DurationSeconds": role.get("duration_seconds", "")}
    return asked | {name: value for name, value in more.items() if value}


def _assumed(asker: Asker, action: str, asked: Mapping[str, str], keys: AwsKeys | None) -> AwsKeys:
    body = urlencode({"Action": action, "Version": "2011-06-15", **asked}).encode()
    region = asker.environment.get("AWS_REGION") or asker.region
    address = asker.environment.get("AWS_ENDPOINT_URL_STS") or f"https://sts.{region}.{domain(region)}"
    url = address.rstrip("/") + "/"
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    if keys is not None:
        payload = sha256(body).hexdigest()
        headers = signing.aws_headers("POST", url, headers, keys, region, payload=payload, service="sts")
    answer = asker.transport.request("POST", url, headers=headers, body=body, cancelled=asker.cancelled, retry=True)
    with checked(answer, "the security token service refuses the role", 200) as good:
        return _of_service(good.read_all(_ANSWER), action)


def _of_service(data: bytes, action: str) -> AwsKeys:
    """The credentials in an answer of the security token service, JSON or XML."""
    text = data.decode("utf-8", "replace")
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
    try:
        inner = json.loads(text)[f"{action}Response"][f"{action}Result"]["Credentials"]
        values = [str(inner.get(name, "")) for name in names]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        values = [text.partition(f"<{name}>")[2].partition("<")[0].strip() for name in names]
    if not all(values[:3]):
        raise CacheFailed("the security token service gave no credentials")
    key, secret, token, ends = values
    return AwsKeys(key, secret, token, _time(ends))


def _of_container(asker: Asker) -> AwsKeys | None:
    """Keys of the task or pod that this runs in."""
    environment = asker.environment
    url = environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
    if path := environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        url = f"{_CONTAINER}/{path.lstrip('/')}"
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme != "https" and not (is_loopback(parts.hostname or "") or parts.hostname in _NEAR):
        raise CacheFailed("AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor on this machine")
    token = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
    if file := environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
        try:
            token = read_regular(file, _FILE_LIMIT).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise CacheFailed(f"cannot read {file}: {error}") from None
    headers = {"authorization": token} if token else {}
    answer = asker.transport.request("GET", url, headers=headers, cancelled=asker.cancelled)
    with checked(answer, "the container gives no credentials", 200) as good:
        return _of_json(good.read_all(_ANSWER), "Token", "the container")


def _of_machine(asker: Asker) -> AwsKeys | None:
    """Keys of the role of this virtual machine; None where it is none, or has no role."""
    environment = asker.environment
    if environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return None
    place = (environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or _METADATA).rstrip("/")
    transport = Transport(replace(Limits(), attempts=1, connect=1.0, read=5.0))  # elsewhere nobody answers there

    def ask(method: str, path: str, headers: Mapping[str, str]) -> Response:
        return transport.request(method, place + path, headers=headers, cancelled=asker.cancelled)

    roles = "/latest/meta-data/iam/security-credentials/"
    try:
        with ask("PUT", "/latest/api/token", {"x-aws-ec2-metadata-token-ttl-seconds": "21600"}) as answer:
            token = answer.read_all(4096).decode("ascii", "replace").strip() if answer.status == 200 else ""
        headers = {"x-aws-ec2-metadata-token": token} if token and token.isprintable() else {}
        with ask("GET", roles, headers) as answer:
            named = answer.read_all(4096).decode("utf-8", "replace").split() if answer.status == 200 else []
        if not named:
            return None
        with ask("GET", roles + named[0], headers) as answer:
            data = answer.read_all(_ANSWER) if answer.status == 200 else b""
    except RegistryError:
        return None
    finally:
        transport.close()
    return _of_json(data, "Token", "this machine")


def _of_json(data: bytes, token: str, who: str) -> AwsKeys:
    """The keys of a JSON object, whose token is called so."""
    try:
        found: Any = json.loads(data)
        key, secret = (str(found[name]) for name in ("AccessKeyId", "SecretAccessKey"))
        return AwsKeys(key, secret, str(found.get(token) or ""), _time(str(found.get("Expiration") or "")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CacheFailed(f"{who} gives no credentials for AWS") from None


def _time(text: str) -> float:
    """Seconds since the epoch; 0 for what is no time, or never."""
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return (found if found.tzinfo is not None else found.replace(tzinfo=datetime.UTC)).timestamp()
