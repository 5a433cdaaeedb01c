"""Nothing that a build was lent stays anywhere: every byte of the store, of caches, records, logs and images is looked at."""

from __future__ import annotations

import base64
import gzip
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import cache_servers
from tests.e2e.conftest import Dockc, MakeContext
from tests.e2e.test_cache_faults import Between, Fault, status
from tests.runtime.registry_servers import PASSWORD, USER, Answer, Script, Seen, real_registry

S3_KEY, S3_SESSION, GHA = "s3-secret-4b2c", "s3-session-8e0d", cache_servers.GITHUB_SIGNATURE
SECRETS = {
    "a secret file": "file-secret-7d1f",
    "a secret variable": "env-secret-93ab",
    "S3's key": S3_KEY,
    "S3's session": S3_SESSION,
    "GitHub's token": GHA,
    "the password of a registry": PASSWORD,
    "the same as it is sent": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(),
    "the password of an address": "url-secret-c3d4",
    "the same as it is sent, too": base64.b64encode(b"me:url-secret-c3d4").decode(),
}


def unpacked(data: bytes) -> Iterator[bytes]:
    """The bytes, and what is compressed in them."""
    yield data
    if data[:2] == b"\x1f\x8b":
        try:
            yield from unpacked(gzip.decompress(data))
        except (OSError, EOFError, zlib.error):
            return


def found(places: list[Path], texts: list[str]) -> list[str]:
    """Which secret is where."""
    out = []
    whole = [(str(path), part) for place in places for path in sorted(place.rglob("*")) if path.is_file() for part in unpacked(path.read_bytes())]
    whole += [("what was shown", text.encode()) for text in texts]
    for where, data in whole:
        out += [f"{what} in {where}" for what, secret in SECRETS.items() if secret.encode() in data]
    return out


def test_nothing_stays(root: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path) -> None:
    token = cache_servers.github_token()

    def page(seen: Seen) -> Answer:
        good = seen.headers.get("authorization", "") == f"Basic {SECRETS['the same as it is sent, too']}"
        return Answer(200, b"page\n") if good else Answer(401, b"no\n")

    (tmp_path / "registry").mkdir()
    (tmp_path / ".docker").mkdir()
    (tmp_path / "tok").write_text(SECRETS["a secret file"])
    os.environ["TOKEN_OF_A_TEST"] = SECRETS["a secret variable"]
    shown: list[str] = []
    try:
        with (
            real_registry(tmp_path / "registry", auth="htpasswd") as registry,
            Script(page) as web,
            cache_servers.actions() as server,
        ):
            (tmp_path / ".docker/config.json").write_text(
                json.dumps({"auths": {registry: {"auth": SECRETS["the same as it is sent"]}}})
            )
            between = Between(server.url.removeprefix("http://"))
            with Script(between) as proxy:
                files = context(
                    f"FROM base\nADD http://me:{SECRETS['the password of an address']}@{web.address}/page /page\n"
                    "RUN --mount=type=secret,id=tok --mount=type=secret,id=env,env=HERE [ \"$HERE\" ] && cat /run/secrets/tok > /dev/null && echo used\n"
                    "RUN --mount=type=cache,target=/c echo kept > /c/f; echo other > /o\n"
                )
                s3 = "type=s3,bucket=b,region=r,endpoint_url=http://127.0.0.1:9,access_key_id=k"
                s3 += f",secret_access_key={S3_KEY},session_token={S3_SESSION},retry_max_attempts=1"
                more = [
                    *with_base, "--secret", f"id=tok,src={tmp_path / 'tok'}", "--secret", "id=env,env=TOKEN_OF_A_TEST",
                    f"--cache-to=type=registry,ref={registry}/app/cache:x,mode=max", f"--cache-to=type=local,dest={tmp_path}/cache,mode=max",
                    f"--cache-to=type=gha,url_v2={proxy.url}/,token={token},mode=max", f"--cache-to={s3}", f"--cache-from={s3}",
                    f"--cache-from=type=gha,url_v2={proxy.url}/,token={token}", f"--metadata-file={tmp_path}/meta/m.json",
                    f"--output=type=oci,dest={tmp_path}/out/i.tar", f"--output=type=image,name={registry}/app/image:x,push=true",
                ]  # fmt: skip
                for name in ("meta", "out"):
                    (tmp_path / name).mkdir()
                for how in ("plain", "rawjson"):
                    done = root.run("build", files, f"--progress={how}", *more)
                    shown += [done.stdout, done.stderr]
                assert "used" in shown[1] and "was not written" in shown[1]
                between.faults = [Fault("POST", "/", status(401))]  # what went wrong is told without what was sent
                (files / "Dockerfile").write_text((files / "Dockerfile").read_text() + "RUN cat /run/secrets/tok; exit 3\n")
                done = root.run("build", files, "--progress=plain", *more, status=None)
                shown += [done.stdout, done.stderr]
                assert done.returncode == 1
        shown += [root.run("history", "ls").stdout, root.run("history", "inspect", "last").stdout, root.run("history", "logs", "last").stdout]
        shown += [root.run("du", "-v").stdout, root.run("du", "--json").stdout]
        root.run("history", "export", "last", "-o", tmp_path / "out/record", status=None)
    finally:
        del os.environ["TOKEN_OF_A_TEST"]
    places = [root.store, tmp_path / "cache", tmp_path / "registry/data", tmp_path / "out", tmp_path / "meta", tmp_path / ".local", tmp_path / ".cache"]
    (tmp_path / "service").mkdir()
    for number, (_, data) in enumerate(server.entries.values()):
        (tmp_path / "service" / str(number)).write_bytes(data)
    assert server.entries
    assert found([*places, tmp_path / "service"], shown) == []


def test_arguments_addresses_and_proxies_stay_in_no_cache(
    root: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What BuildKit's images tell of arguments in their history is not told by caches, records and reports, nor by the messages of failures."""
    names = ("argument", "default", "proxy-of-steps", "proxy-of-builder", "sas", "azure", "s3-variable", "s3-address", "github-api", "git")
    hidden = {name: f"{name}-hunter2" for name in names}
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{hidden['proxy-of-builder']}@127.0.0.1:9")
    for name, value in (("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", hidden["s3-variable"]), ("GIT_AUTH_TOKEN", hidden["git"])):
        monkeypatch.setenv(name, value)
    files = context(
        f"FROM base\nARG NPM_TOKEN\nARG MIRROR=https://me:{hidden['default']}@mirror/x\nARG HTTP_PROXY\nRUN echo $NPM_TOKEN | cat > /dev/null; echo used\n",
    )
    azure = f"type=azblob,account_name=a,account_url=https://a.blob.core.windows.net/?sig={hidden['sas']}"
    token = cache_servers.github_token()
    caches = [
        f"type=s3,bucket=b,region=r,endpoint_url=http://me:{hidden['s3-address']}@127.0.0.1:9,retry_max_attempts=1",
        azure, f"type=azblob,account_url=http://127.0.0.1:9/a,account_name=a,secret_access_key={base64.b64encode(hidden['azure'].encode()).decode()}",
        f"type=gha,url_v2=http://127.0.0.1:9/,token={token},ghtoken={hidden['github-api']},repository=o/r,timeout=1s",
    ]  # fmt: skip
    more = [
        *with_base, "-o", "type=cacheonly", f"--cache-to=type=local,dest={tmp_path}/cache,mode=max", "--secret", "id=GIT_AUTH_TOKEN",
        "--build-arg", f"NPM_TOKEN={hidden['argument']}", "--build-arg", f"HTTP_PROXY=http://me:{hidden['proxy-of-steps']}@proxy:1",
        *(f"--cache-from={one}" for one in caches), *(f"--cache-to={one}" for one in caches),
        "--report", tmp_path / "page.html", "--record", tmp_path / "record.json", "--metadata-file", tmp_path / "meta.json",
    ]  # fmt: skip
    shown = []
    for text in ("", "RUN exit 3\n", "ADD https://me:git-hunter2@127.0.0.1:9/r.git /r\n"):
        (files / "Dockerfile").write_text((files / "Dockerfile").read_text() + text)
        done = root.run("build", files, "--progress=plain", *more, status=None)
        step = f"RUN echo {hidden['argument']} |"  # its name in LLB, as BuildKit has it and shows it
        assert step in done.stderr or text.startswith("ADD")  # no step has been reached
        shown += [done.stdout, done.stderr.replace(step, "RUN echo")]
        assert done.returncode == bool(text), done.stderr
        shown += [root.run("explain", "--miss").stdout, root.run("history", "inspect", "--json").stdout, root.run("history", "logs", "--progress=rawjson").stdout]
    assert "used" in shown[1] and shown[1].count("is not used") == 4 and shown[1].count("was not written") == 4
    parts = [*hidden.values(), cache_servers.GITHUB_SIGNATURE, *(base64.b64encode(f"me:{one}".encode()).decode()[:12] for one in hidden.values())]
    kept = [(str(path), part) for path in sorted(tmp_path.rglob("*")) if path.is_file() and files not in path.parents for part in unpacked(path.read_bytes())]
    kept += [("what was shown", text.encode()) for text in shown]
    assert [(part, where) for where, data in kept for part in parts if part.encode() in data] == []


def test_the_scan_finds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(gzip.compress(b"x" * 100 + SECRETS["a secret file"].encode()))
    assert found([tmp_path], [f"Basic {SECRETS['the same as it is sent']}"]) == [
        f"a secret file in {tmp_path}/f",
        "the same as it is sent in what was shown",
    ]
