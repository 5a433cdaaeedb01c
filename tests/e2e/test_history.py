"""`dockc history`: builds through the command line leave records, also those that fail, and no secret in them."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path

from tests.e2e.conftest import Dockc, MakeContext

FILE = "FROM base\nARG API_TOKEN\nRUN echo one; echo two >&2\nRUN --mount=type=secret,id=mine cp /run/secrets/mine /dev/null && echo three\n"


def test_builds_leave_records(dockc: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path) -> None:
    folder = context(FILE)
    secret = tmp_path / "hidden"
    secret.write_text("hunter2-value")
    secret.chmod(0o644)
    given = ("--secret", f"id=mine,src={secret}", "--build-arg", "API_TOKEN=hunter2-arg", "-t", "app:1")
    shown = dockc.build(folder, *with_base, *given)
    assert "warning" not in shown.lower().replace("secretsusedinargorenv", "")
    dockc.build(folder, *with_base, *given)
    (folder / "Dockerfile").write_text("FROM base\nRUN echo before; exit 3\n")
    dockc.build(folder, *with_base, status=1)
    (folder / "Dockerfile").write_text("FROM base\nRUM x\n")
    dockc.build(folder, *with_base, status=1)
    found = [json.loads(line) for line in dockc.run("history", "ls", "--json").stdout.splitlines()]
    assert [one["status"] for one in found] == ["failed", "failed", "completed", "completed"]
    for asked, count in (("status=error", 2), ("status==completed,duration<1h", 2), (f"ref={found[0]['ref']}", 1), ("startedAt<1h", 0), ("startedAt>1h", 4)):
        assert len(dockc.run("history", "ls", "--json", "--filter", asked).stdout.splitlines()) == count, asked
    assert "failed to parse history filters a b" in dockc.run("history", "ls", "--filter", "a b", status=2).stderr
    first, again = found[3], found[2]
    assert first["executed"] > 0
    assert (again["executed"], again["cached"] > 0) == (0, True)
    assert first["results"]["containerimage.digest"].startswith("sha256:")
    assert first["options"]["secrets"] == ["mine"]
    assert first["options"]["names"] == ["app:1"]
    assert "did not complete successfully: exit code: 3" in found[1]["error"]

    whole = json.loads(dockc.run("history", "inspect", "--json", first["ref"]).stdout)
    assert whole["dockerfile"] == FILE
    steps = {one["name"]: one for one in whole["steps"]}
    (ran,) = (one for name, one in steps.items() if "echo one" in name)
    assert ran["started"] <= ran["completed"]
    assert not ran["cached"]
    assert sorted(dockc.run("history", "logs", first["ref"], str(ran["number"])).stdout.splitlines()) == ["one", "two"]
    assert dockc.run("history", "logs", first["ref"], "--grep", "^t.o$").stdout == f"#{ran['number']} two\n"
    assert dockc.run("history", "logs", first["ref"], "--grep", "nothing", status=1).stdout == ""
    assert "before" in dockc.run("history", "logs", found[1]["ref"]).stdout
    assert dockc.run("history", "inspect", "last", "--dockerfile").stdout == "FROM base\nRUM x\n"
    assert "app:1" in dockc.run("history", "ls").stdout
    assert "echo one" in dockc.run("history", "inspect", first["ref"]).stdout

    kept = b"".join(path.read_bytes() for path in (dockc.store / "history").iterdir())
    assert b"hunter2" not in kept
    lines = dockc.run("history", "export", first["ref"]).stdout.splitlines()
    assert json.loads(lines[0])["begin"]["ref"] == first["ref"]
    assert json.loads(lines[-1])["end"]["status"] == "completed"

    assert dockc.run("history", "rm", first["ref"]).stdout == first["ref"] + "\n"
    dockc.run("history", "inspect", first["ref"], status=2)
    dockc.run("history", "rm", "--all")
    assert dockc.run("history", "ls", "--json").stdout == ""
    assert dockc.run("doctor").stdout.rstrip().endswith("healthy")


def test_words_of_buildx(root: Dockc, context: MakeContext, tmp_path: Path) -> None:
    """Forms, filters, bundles: nothing that buildx has is misunderstood, and what is here already is no error."""
    folder = context("FROM scratch\nARG A\nCOPY Dockerfile /x\n")
    for value in ("1", "2"):
        root.build(folder, "--build-arg", f"A={value}", "--label", "k=v", "-t", f"app:{value}")
    root.build(folder, "--target", "none", status=1)
    failed, second, first = root.run("history", "ls", "-q").stdout.split()
    listed = [json.loads(line) for line in root.run("history", "ls", "--format", "json").stdout.splitlines()]
    assert [(one["ref"], one["status"]) for one in listed] == [(failed, "Error"), (second, "Completed"), (first, "Completed")]
    assert root.run("history", "ls", "--format", "table {{.Ref}}\\t{{.Name}}").stdout.splitlines()[0].split() == ["BUILD", "ID", "NAME"]
    both = ("--filter", "status=completed", "--filter", f"ref={first[3:9]}")
    assert root.run("history", "ls", "-q", *both).stdout.split() == [first], "several filters all hold; a ref may be a part of one"
    form = "{{.Status}} {{range .BuildArgs}}{{.Name}}={{.Value}}{{end}} {{json .Labels}}"
    assert root.run("history", "inspect", "^1", "--format", form).stdout == 'completed A=2 [{"Name":"k","Value":"v"}]\n'
    assert json.loads(root.run("history", "inspect", "--format", "json").stdout)["Error"]["Message"].startswith("target stage")
    events = [json.loads(line) for line in root.run("history", "logs", "^2", "--progress", "rawjson").stdout.splitlines()]
    assert any("COPY" in step["name"] for event in events for step in event.get("vertexes", ()))
    bundle = tmp_path / "all.dockerbuild"
    root.run("history", "export", "--all", "--finalize", "-o", bundle)
    root.run("history", "rm", second)
    again = root.run("history", "import", "-f", bundle)
    assert again.stdout == f"{second}\n"
    assert "in the history already" in again.stderr and first in again.stderr
    other = Dockc(tmp_path / "other", tmp_path)
    assert sorted(other.run("history", "import", bundle).stdout.split()) == sorted((failed, second, first))
    for words, said in (
        (("trace",), "`dockc history open`"),
        (("inspect", "attachment", "last", "--type", "provenance"), "attests nothing by itself"),
        (("inspect", "attachment", "--nope"), "No such option: --nope"),
        (("ls", "--local"), "no git repository"),
        (("ls", "--format", "{{.Foo}}"), "can't evaluate field Foo"),
        (("ls", "-q", "--json"), "one can be given"),
        (("export", "--all", first), "these or --all"),
        (("logs", "--progress", "rawjson", "--grep", "x"), "prints everything"),
    ):
        assert said in root.run("history", *words, status=2).stderr, words


def test_documents_hang_on_builds(dockc: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    """The index, the manifests and the configs of what a build has made, by kind, by platform and by digest; nothing once they are gone."""
    folder = context("FROM base\nCOPY a /a\n", a="a")
    dockc.build(folder, *with_base, "--platform=linux/amd64,linux/386", "-t", "both")
    attached = ("history", "inspect", "attachment")
    index = json.loads(dockc.run(*attached, "last", "--type=index").stdout)
    results = json.loads(dockc.run("history", "inspect", "--json").stdout)["results"]
    for one in index["manifests"]:
        platform = f"{one['platform']['os']}/{one['platform']['architecture']}"
        text = dockc.run(*attached, "last", "--type=manifest", "--platform", platform).stdout
        assert f"sha256:{sha256(text.encode()).hexdigest()}" == one["digest"]
        config = json.loads(text)["config"]["digest"]
        assert json.loads(dockc.run(*attached, "last", config).stdout)["architecture"] == one["platform"]["architecture"]
        assert config in dockc.run(*attached).stdout
    assert results["containerimage.digest"] in dockc.run(*attached).stdout
    assert "has no sbom among its 5 attachments" in dockc.run(*attached, "last", "--type=sbom", status=2).stderr
    dockc.build(folder, *with_base, "-o", "type=cacheonly")
    assert "has no attachment in the store" in dockc.run(*attached, status=2).stderr


def test_a_history_that_cannot_be_written_is_one_warning(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    root.store.mkdir()
    (root.store / "history").write_text("in the way")
    shown = root.build(context("FROM base\nRUN echo one\n"), *with_base)
    assert shown.count("history") == 1
    assert "warning: this build is not in the history as a whole" in shown


def test_a_dockerfile_out_of_a_pipe_is_read_once(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    folder = context("FROM none\n")
    reading, writing = os.pipe()
    os.write(writing, b"FROM base\nRUN echo piped\n")
    os.close(writing)
    root.run("build", folder, "-f", f"/dev/fd/{reading}", *with_base, pass_fds=(reading,))
    os.close(reading)
    assert root.run("history", "inspect", "last", "--dockerfile").stdout == "FROM base\nRUN echo piped\n"
