"""Who asks Azure where no key is given: tokens by what the surroundings say, in the order of Azure's own libraries.

A service's secret (`AZURE_CLIENT_SECRET`), a pod's token (`AZURE_FEDERATED_TOKEN_FILE`), the identity of the machine or
app (`IDENTITY_ENDPOINT`, else the metadata service of virtual machines), or who is logged in to Azure's command line.
Certificates and the other tools of developers are not asked.

Source: Microsoft identity platform, "OAuth 2.0 client credentials flow"; "How to use managed identities"; RFC 7523.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from dockc.base import jsontext
from dockc.base.files import read_regular
from dockc.errors import DockcError
from dockc.runtime.cancel import Cancelled
from dockc.runtime.registry.transport import Limits, Transport
from dockc.runtime.remotecache.base import CacheFailed

_RESOURCE = "https://storage.azure.com"
_AUTHORITY = "https://login.microsoftonline.com/"
_METADATA = "http://169.254.169.254"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ANSWER = 1 << 20
_FILE_LIMIT = 1 << 20
_CLI_SECONDS = 30

Event = threading.Event
Way = Callable[[Mapping[str, str], "Event | None"], str]


def token(environment: Mapping[str, str], cancelled: Event | None = None) -> str:
    """A token for Azure's storage; blocks.

    Raises:
        CacheFailed: nobody gives one, with what each said.
    """
    said = []
    for name, way in _WAYS.items():
        try:
            if found := way(environment, cancelled):
                return found
        except Cancelled:
            raise
        except (DockcError, OSError, ValueError, subprocess.SubprocessError) as error:
            said.append(f"{name}: {error.message if isinstance(error, DockcError) else error}")
    raise CacheFailed(
        f"nobody gives a token for Azure{''.join(f'; {one}' for one in said)}",
        hint="Give secret_access_key, a shared access signature in account_url, or AZURE_CLIENT_ID and its kin.",
    )


def _service(environment: Mapping[str, str], cancelled: Event | None) -> str:
    """By a service's secret, or by a token that somebody else vouches for."""
    tenant, client = environment.get("AZURE_TENANT_ID", ""), environment.get("AZURE_CLIENT_ID", "")
    secret, file = environment.get("AZURE_CLIENT_SECRET", ""), environment.get("AZURE_FEDERATED_TOKEN_FILE", "")
    if not (tenant and client and (secret or file)):
        return ""
    asked = {"client_id": client, "grant_type": "client_credentials", "scope": f"{_RESOURCE}/.default"}
    if secret:
        asked["client_secret"] = secret
    else:
        asked |= {
            "client_assertion_type": _ASSERTION,
            "client_assertion": read_regular(file, _FILE_LIMIT).decode().strip(),
        }
    address = environment.get("AZURE_AUTHORITY_HOST", _AUTHORITY).rstrip("/")
    headers = {"content-type": "application/x-www-form-urlencoded"}
    url = f"{address}/{tenant}/oauth2/v2.0/token"
    return _asked(Transport(), "POST", url, headers, cancelled, urlencode(asked).encode())


def _machine(environment: Mapping[str, str], cancelled: Event | None) -> str:
    """By the identity of the app or virtual machine that this runs on."""
    query = {"resource": _RESOURCE}
    if client := environment.get("AZURE_CLIENT_ID", ""):
        query["client_id"] = client
    if endpoint := environment.get("IDENTITY_ENDPOINT", ""):
        headers = {"x-identity-header": environment.get("IDENTITY_HEADER", "")}
        url = f"{endpoint}?{urlencode({**query, 'api-version': '2019-08-01'})}"
    else:
        headers = {"metadata": "true"}
        host = environment.get("AZURE_POD_IDENTITY_AUTHORITY_HOST", _METADATA).rstrip("/")
        url = f"{host}/metadata/identity/oauth2/token?{urlencode({**query, 'api-version': '2018-02-01'})}"
    limits = Limits(attempts=1, connect=2.0)  # elsewhere nobody answers at that address
    return _asked(Transport(limits), "GET", url, headers, cancelled)


def _asked(
    transport: Transport,
    method: str,
    url: str,
    headers: Mapping[str, str],
    cancelled: Event | None,
    body: bytes | None = None,
) -> str:
    with transport.request(method, url, headers=dict(headers), body=body, cancelled=cancelled) as answer:
        data = answer.read_all(_ANSWER)
        if answer.status != 200:
            raise CacheFailed(f"{answer.status} from {url.partition('?')[0]}{_reason(data)}")
    return _token_of(jsontext.parsed(data), "access_token")


def _reason(data: bytes) -> str:
    """What an identity service says of a refusal."""
    try:
        text = str(jsontext.parsed(data)["error_description"])
    except (ValueError, KeyError, TypeError):
        return ""
    return f": {' '.join(text.split())[:200]}"


def _token_of(document: Any, name: str) -> str:
    if not isinstance(document, dict) or not isinstance(document.get(name), str) or not document[name]:
        raise CacheFailed("the answer has no token")
    found: str = document[name]
    return found


def _logged_in(environment: Mapping[str, str], cancelled: Event | None) -> str:
    """By who is logged in to `az`, where that is installed."""
    import shutil

    program = shutil.which("az", path=environment.get("PATH", ""))
    if program is None:
        return ""
    done = subprocess.run(
        [program, "account", "get-access-token", "--resource", _RESOURCE, "--output", "json"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=_CLI_SECONDS, check=False, env=dict(environment),
    )  # fmt: skip
    if done.returncode:
        raise CacheFailed(" ".join(done.stderr.decode("utf-8", "replace").split())[:200] or "az failed")
    return _token_of(jsontext.parsed(done.stdout), "accessToken")


_WAYS: dict[str, Way] = {"service": _service, "managed identity": _machine, "az": _logged_in}
