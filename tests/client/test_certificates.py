"""Certificates that are not what they should be, at both ends: the daemon's own, and those of its clients."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from dockc.client.address import Tls, connect, parse
from dockc.client.authority import trusts
from dockc.daemon.config import TlsFiles
from dockc.errors import DockcError, UsageError
from dockc.rpc.calls import Call, Handler
from dockc.rpc.transports import Wire
from tests.tools import need

_CONFIG = """
[ca]
default_ca = own
[own]
database = index
new_certs_dir = .
serial = serial
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
"""
#: Name: names in the certificate, extensions, from and until when, who signs it.
_MADE = {
    "good": ("DNS:localhost,IP:127.0.0.1", "", "20200101000000Z", "20990101000000Z", "ca"),
    "expired": ("IP:127.0.0.1", "", "20200101000000Z", "20210101000000Z", "ca"),
    "early": ("IP:127.0.0.1", "", "20980101000000Z", "20990101000000Z", "ca"),
    "elsewhere": ("DNS:builder.example", "", "20200101000000Z", "20990101000000Z", "ca"),
    "nameless": ("", "", "20200101000000Z", "20990101000000Z", "ca"),
    "strange": ("IP:127.0.0.1", "", "20200101000000Z", "20990101000000Z", "other"),
    "client": ("IP:127.0.0.1", "extendedKeyUsage=clientAuth", "20200101000000Z", "20990101000000Z", "ca"),
    "server": ("IP:127.0.0.1", "extendedKeyUsage=serverAuth", "20200101000000Z", "20990101000000Z", "ca"),
    "middle": ("", "basicConstraints=critical,CA:TRUE", "20200101000000Z", "20990101000000Z", "ca"),
    "chained": ("IP:127.0.0.1", "", "20200101000000Z", "20990101000000Z", "middle"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("certificates")
    need("openssl")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=made, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    (made / "config").write_text(_CONFIG)
    (made / "index").touch()
    (made / "serial").write_text("01\n")
    for ca in ("ca", "other"):
        openssl("req", "-x509", *key, "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-subj", f"/CN={ca}", "-days", "2")
    for name, (names, more, begin, end, ca) in _MADE.items():
        lines = [f"subjectAltName={names}" if names else "", more]
        (made / "ext").write_text("\n".join(["[ext]", *filter(None, lines), "authorityKeyIdentifier=keyid", ""]))
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(
            "ca", "-batch", "-config", "config", "-in", f"{name}.csr", "-out", f"{name}.pem", "-cert", f"{ca}.pem", "-keyfile", f"{ca}.key",
            "-startdate", begin, "-enddate", end, "-extfile", "ext", "-extensions", "ext", "-notext",
        )  # fmt: skip
    (made / "whole.pem").write_bytes((made / "chained.pem").read_bytes() + (made / "middle.pem").read_bytes())
    openssl("pkey", "-in", "good.key", "-aes128", "-passout", "pass:x", "-out", "locked.key")
    return made


async def _echo(call: Call) -> None:
    await call.send((await call.receive()) or b"")


HANDLERS: dict[str, Handler] = {"/t/Echo": _echo}


def talk(server: ssl.SSLContext, client: Tls) -> None:
    """One call over TLS, as dockc's two ends set it up."""

    async def go() -> None:
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(lambda: Wire(HANDLERS), "127.0.0.1", 0, ssl=server)
        try:
            link = await connect(parse(f"tcp://127.0.0.1:{listening.sockets[0].getsockname()[1]}"), client, limit=30)
            try:
                assert await link.channel.unary("/t/Echo", b"x", limit=30) == b"x"
            finally:
                await link.close()
        finally:
            listening.close()
            await asyncio.sleep(0.02)

    asyncio.run(go())


def files(folder: Path, name: str, key: str = "") -> tuple[str, str]:
    return str(folder / f"{name}.pem"), str(folder / f"{key or name}.key")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("good", ""),
        ("server", ""),
        ("whole", ""),
        ("expired", "expired"),
        ("early", "not yet valid"),
        ("elsewhere", "not valid for '127.0.0.1'|mismatch"),
        ("nameless", "not valid for '127.0.0.1'|mismatch"),
        ("strange", "unable to get local issuer"),
        ("client", "unsuitable certificate purpose|unsupported certificate purpose"),
        ("chained", "unable to get local issuer"),
    ],
)
def test_the_daemons_certificate(folder: Path, name: str, words: str) -> None:
    server = TlsFiles(*files(folder, name, "chained" if name == "whole" else "")).context()
    client = Tls(ca=str(folder / "ca.pem"))
    if not words:
        talk(server, client)
        return
    with pytest.raises(DockcError, match=words) as caught:
        talk(server, client)
    assert "tcp://127.0.0.1" in caught.value.message
    assert "_ssl.c" not in caught.value.message
    with pytest.raises(DockcError):  # the machine's own authorities know nobody of them
        talk(server, Tls(server_name="localhost"))


@pytest.mark.parametrize("name", ["good", "client", "expired", "early", "strange", "server", "chained", ""])
def test_a_clients_certificate(folder: Path, name: str) -> None:
    server = TlsFiles(*files(folder, "good"), str(folder / "ca.pem")).context()
    client = Tls(str(folder / "ca.pem"), *(files(folder, name) if name else ()))
    if name in {"good", "client"}:
        talk(server, client)
    else:
        with pytest.raises(DockcError, match=r"it may want a certificate of the client, or another one|alert"):
            talk(server, client)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (("good", "client"), "key values mismatch"),
        (("good", "locked"), "has a password"),
        (("good", "none"), "No such file"),
        (("config", "good"), "cannot load"),
    ],
)
def test_files_that_do_not_fit(folder: Path, pair: tuple[str, str], words: str) -> None:
    cert = str(folder / (pair[0] if pair[0] == "config" else f"{pair[0]}.pem"))
    key = str(folder / f"{pair[1]}.key")
    for made in (TlsFiles(cert, key), Tls("", cert, key)):
        with pytest.raises(UsageError, match=words):
            made.context()


def test_certificates_that_are_replaced_while_they_are_used(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("cert", "key"):
        (tmp_path / name).write_bytes((folder / f"expired.{'pem' if name == 'cert' else 'key'}").read_bytes())
    shutil.copy(folder / "other.pem", tmp_path / "ca")
    server = TlsFiles(str(tmp_path / "cert"), str(tmp_path / "key"), str(tmp_path / "ca")).context()
    client = Tls(str(folder / "ca.pem"), *files(folder, "good"))
    with pytest.raises(DockcError, match="expired"):
        talk(server, client)
    shutil.copy(folder / "good.pem", tmp_path / "cert")  # half of it
    with pytest.raises(DockcError, match="expired"):
        talk(server, client)
    assert "the old ones are still used" in caplog.text
    shutil.copy(folder / "good.key", tmp_path / "key")
    with pytest.raises(
        DockcError, match=r"certificate|connection|handshake"
    ):  # of the client, whom the old authority does not know
        talk(server, client)
    shutil.copy(folder / "ca.pem", tmp_path / "ca")
    talk(server, client)
    talk(server, client)
    shutil.copy(folder / "other.pem", tmp_path / "ca")
    with pytest.raises(DockcError, match=r"certificate|connection|handshake"):
        talk(server, client)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_not_spoken(folder: Path, version: ssl.TLSVersion) -> None:
    for made in (TlsFiles(*files(folder, "good")).context(), Tls(ca=str(folder / "ca.pem")).context()):
        assert made.minimum_version > version


def test_certificates_for_token_servers(folder: Path) -> None:
    cert, key = files(folder, "client")
    ca = str(folder / "ca.pem")
    found = trusts(
        [
            f"host=https://r.example:1,ca={ca}",
            f"host=r.example:1,cert={cert},key={key}",
            "host=registry-1.docker.io,insecure=true",
        ]
    )
    assert (found["r.example:1"].ca_files, found["r.example:1"].pairs, found["r.example:1"].verify) == (
        (ca,),
        ((cert, key),),
        True,
    )
    assert not found["docker.io"].verify
    for text, words in (
        ("ca=x", "requires host"),
        ("host=h", "requires ca="),
        (f"host=h,ca={ca},cert={cert}", "requires cert=<cert>,key=<key>"),
        ("host=h,ca=/none", "cannot read /none"),
        ("host=h,nonsense=1", "unknown field nonsense"),
        ("host", "invalid value host"),
    ):
        with pytest.raises(UsageError, match=words):
            trusts([text])
