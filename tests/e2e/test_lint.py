"""`dockc lint` as a program: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from dockc.commands.lint.shellcheck import find

REPO = Path(__file__).resolve().parents[2]
CLEAN = "FROM debian:12\nCOPY app /app\nUSER 1000\n"
DIRTY = "FROM debian:12\nADD app /app\nRUN apt-get install curl=1\n"
FORMATS = ("text", "json", "sarif", "github", "gitlab", "checkstyle", "junit", "codeclimate", "gitlab_codeclimate", "codacy",
           "sonarqube", "tty", "gnu")


def lint(folder: Path, *args: object, status: int | None = None, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKC_", "HADOLINT_"))} | {"PYTHONPATH": str(REPO)}
    argv = [sys.executable, "-m", "dockc", "lint", "--no-shellcheck", *map(str, args)]
    result = subprocess.run(argv, cwd=folder, env=env, input=stdin, text=True, capture_output=True, check=False, timeout=120)
    assert status is None or result.returncode == status, f"status {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(DIRTY)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "Containerfile").write_text(CLEAN)
    (tmp_path / "sub" / "app.dockerfile").write_text("FORM debian\n")
    (tmp_path / "sub" / "notes.txt").write_text("FROM nothing")
    return tmp_path


def codes(result: subprocess.CompletedProcess[str]) -> list[tuple[str, int, str]]:
    return [(row["file"], row["line"], row["code"]) for row in json.loads(result.stdout)]


def test_clean_file_ends_with_0(folder: Path) -> None:
    assert lint(folder, "sub/Containerfile", status=0).stdout == "Nothing found in 1 file.\n"


def test_text_shows_place_words_fix_and_link(folder: Path) -> None:
    out = lint(folder, "Dockerfile", status=1).stdout
    assert "warning[DL3020]: Use COPY instead of ADD for files and folders\n --> Dockerfile:2:1\n" in out
    assert "2 | ADD app /app\n  | ^^^\n" in out
    assert "= fix: Use COPY (safe)\n  = see: dockc lint --explain DL3020\n" in out
    assert out.endswith("Found 2 warnings, 1 info in 1 file. 2 can be fixed with `--fix`, 1 more with `--fix --unsafe`.\n")


def test_directories_are_searched_and_a_broken_file_hides_no_other(folder: Path) -> None:
    found = codes(lint(folder, "--format=json", status=1))
    assert ("Dockerfile", 2, "DL3020") in found
    assert ("sub/app.dockerfile", 1, "DL1000") in found
    assert not any("notes" in file for file, _, _ in found)


def test_unreadable_file_is_a_finding(folder: Path) -> None:
    (folder / "x.dockerfile").symlink_to("missing")
    (folder / "big.dockerfile").symlink_to("sub")
    found = codes(lint(folder, ".", "--format=json", status=1))
    assert {("x.dockerfile", 1, "unreadable"), ("Dockerfile", 2, "DL3020")} <= set(found)


def test_patterns(folder: Path) -> None:
    assert {f for f, _, _ in codes(lint(folder, "**/*.dockerfile", "--format=json"))} == {"sub/app.dockerfile"}


def test_standard_input(folder: Path) -> None:
    assert codes(lint(folder, "-", "--format=json", stdin="FROM debian\n", status=1)) == [("<stdin>", 1, "DL3006")]


@pytest.mark.parametrize("args", [["missing"], ["--select=NOPE"], ["--format=nope"], ["--profile=nope"], ["--severity=DL3020=bad"], ["--failure-threshold=x"],
                                  ["--write-baseline"], ["--config=missing.toml"], ["--explain=NOPE"], ["*.nothing"],
                                  ["-f", "nope"], ["--error=NOPE"], ["--require-label=a:nope"], ["--require-label=:text"]])
def test_wrong_usage_ends_with_2(folder: Path, args: list[str]) -> None:
    result = lint(folder, *args, status=2)
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr


def test_threshold_and_no_fail(folder: Path) -> None:
    lint(folder, "Dockerfile", "--failure-threshold=error", status=0)
    lint(folder, "Dockerfile", "--failure-threshold=warning", status=1)
    lint(folder, "Dockerfile", "--no-fail", status=0)
    lint(folder, "Dockerfile", "--failure-threshold=none", status=0)
    lint(folder, "Dockerfile", "--select=DL3015", status=0)
    lint(folder, "Dockerfile", "--select=DL3015", "--failure-threshold=info", status=1)


def test_select_ignore_extend_severity(folder: Path) -> None:
    def of(*args: str) -> set[tuple[int, str]]:
        return {(line, code) for _, line, code in codes(lint(folder, "Dockerfile", "--format=json", *args))}

    assert of("--select=DL3020") == {(2, "DL3020")}
    assert of("--ignore=DL3020,DL3014") == {(3, "DL3015")}
    assert (1, "DK0201") in of("--extend=DK0201")
    assert of("--select=DL3020", "--severity=DL3020=off") == set()
    row = json.loads(lint(folder, "Dockerfile", "--format=json", "--select=DL3020", "--severity=DL3020=error").stdout)[0]
    assert row["level"] == "error"


def test_configuration_beside_the_file(folder: Path) -> None:
    (folder / "dockc.toml").write_text('[lint]\nignore = ["DL3020", "DL3014", "DL3015"]\n')
    assert codes(lint(folder, "Dockerfile", "--format=json", status=0)) == []


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_well_formed(folder: Path, form: str) -> None:
    out = lint(folder, f"--format={form}", "--output=report", status=1)
    assert out.stdout == ""
    text = (folder / "report").read_text()
    assert "DL3020" in text
    if form == "codeclimate":  # documents, each ended by a NUL
        *documents, end = text.split("\0")
        assert not end.strip()
        assert all(json.loads(document)["type"] == "issue" for document in documents)
    elif form == "codacy":
        assert all(list(json.loads(line)) == ["filename", "patternId", "message", "line"] for line in text.splitlines())
    elif form in {"json", "sarif", "gitlab", "gitlab_codeclimate", "sonarqube"}:
        json.loads(text)
    if form in {"checkstyle", "junit"}:
        ET.fromstring(text)


def test_words_of_hadolint(folder: Path) -> None:
    """Each option of hadolint 2.15 does here what it does there."""
    peer = ("--profile=hadolint", "Dockerfile")

    def of(*args: str) -> dict[str, str]:
        return {row["code"]: row["level"] for row in json.loads(lint(folder, *peer, "-f", "json", *args).stdout)}

    assert of() == {"DL3020": "error", "DL3014": "warning", "DL3015": "info"}
    assert of("--error=DL3014", "--warning", "DL3015", "--style=DL3020") == {"DL3014": "error", "DL3015": "warning", "DL3020": "style"}
    assert of("--info=DL3020", "--style=DL3020")["DL3020"] == "info"  # of several the worst counts
    assert "DL3026" in of("--trusted-registry=quay.io")
    assert "DL3026" not in of("--trusted-registry=quay.io", "--trusted-registry", "docker.io")
    assert of("--require-label=maintainer:text")["DL3049"] == "info"
    (folder / "Dockerfile").write_text(f"# hadolint global ignore=DL3014\n{DIRTY}LABEL a=b\n")
    assert "DL3014" not in of()
    assert "DL3014" in of("--disable-ignore-pragma")
    assert "DL3050" not in of("--require-label=a:text")
    assert "DL3050" in of("--require-label=c:text", "--strict-labels")
    for words, status in ((["-t", "error"], 1), (["--ignore=DL3020", "-t", "error"], 0), (["-t", "ignore"], 1), (["-t", "none"], 1), (["--no-fail"], 0)):
        lint(folder, *peer, *words, status=status)
    assert lint(folder, *peer, "-f", "checkstyle", "--file-path-in-report", "deep/File").stdout.count('"deep/File"') == 1
    assert "deep/File" not in lint(folder, *peer, "-f", "tty", "--file-path-in-report=deep/File").stdout
    assert "\x1b" not in lint(folder, *peer, "--color=always", "--no-color").stdout
    assert lint(folder, "-v", status=0).stdout.startswith("dockc ")
    (folder / "other.yaml").write_text("ignored: [DL3020]\n")
    verbose = lint(folder, *peer, "-c", "other.yaml", "-V", "-f", "json")
    assert verbose.stderr == ".: profile hadolint; configuration: other.yaml\n"
    assert "DL3020" not in verbose.stdout
    assert codes(lint(folder, "--profile=hadolint", "-f", "json", "-", stdin="FROM debian\n", status=1))[0][2] == "DL3006"


def test_status_of_hadolint_by_format(folder: Path) -> None:
    """After reports for Code Climate and Codacy hadolint ends with 0; dockc does where it is asked to end as hadolint."""
    for form, status in (("codacy", 0), ("codeclimate", 0), ("gitlab_codeclimate", 1), ("sonarqube", 1), ("tty", 1)):
        lint(folder, "--profile=hadolint", "Dockerfile", "-f", form, status=1)
        lint(folder, "--profile=hadolint", "Dockerfile", "-f", form, "--hadolint-status", status=status)
    lint(folder, "Dockerfile", "-f", "codacy", "--hadolint-status", status=1)


def test_hadolints_file_says_the_format_of_its_profile(folder: Path) -> None:
    (folder / ".hadolint.yaml").write_text("format: json\nno-color: true\nverbose: true\n")
    said = lint(folder, "--profile=hadolint", "Dockerfile", status=1)
    assert {code for _, _, code in codes(said)} == {"DL3020", "DL3014", "DL3015"}
    assert said.stderr == ".: profile hadolint; configuration: .hadolint.yaml\n"
    assert lint(folder, "--profile=hadolint", "Dockerfile", "-f", "tty", status=1).stdout.startswith("Dockerfile:2 DL3020 error")
    plain = lint(folder, "Dockerfile", status=1)
    assert plain.stdout.startswith("warning[DL3020]") and plain.stderr == ""
    (folder / ".hadolint.yaml").write_text("format: nope\n")
    assert ".hadolint.yaml:1: format: unknown format 'nope'" in lint(folder, "Dockerfile", status=2).stderr


def test_sonarqube_places_are_ranges_or_whole_lines(folder: Path) -> None:
    issues = json.loads(lint(folder, "Dockerfile", "-f", "sonarqube", status=1).stdout)["issues"]
    lines = (folder / "Dockerfile").read_text().splitlines()
    for issue in issues:
        place = issue["primaryLocation"]["textRange"]
        assert 1 <= place["startLine"] <= place["endLine"] <= len(lines)
        if "startColumn" in place:
            assert (place["startLine"], place["startColumn"]) < (place["endLine"], place["endColumn"])
            assert place["endColumn"] <= len(lines[place["endLine"] - 1])
    assert {i["ruleId"]: (i["severity"], i["type"]) for i in issues}["DL3020"] == ("MAJOR", "CODE_SMELL")


def test_fix_writes_and_says_what(folder: Path) -> None:
    (folder / "Dockerfile").chmod(0o640)
    result = lint(folder, "Dockerfile", "--fix", status=0)
    assert (folder / "Dockerfile").read_text() == "FROM debian:12\nCOPY app /app\nRUN apt-get install -y curl=1\n"
    assert result.stderr == "Dockerfile: fixed 1 DL3020, 1 DL3014\n"
    assert (folder / "Dockerfile").stat().st_mode & 0o777 == 0o640
    lint(folder, "Dockerfile", "--fix", "--unsafe", status=0)
    assert "--no-install-recommends" in (folder / "Dockerfile").read_text()


def test_diff_writes_nothing(folder: Path) -> None:
    result = lint(folder, "Dockerfile", "--diff", status=1)
    assert "\n-ADD app /app\n" in result.stdout
    assert "\n+COPY app /app\n" in result.stdout
    assert (folder / "Dockerfile").read_text() == DIRTY


def test_fix_of_standard_input(folder: Path) -> None:
    result = lint(folder, "-", "--fix", stdin="FROM debian:12\nADD a /b\n", status=0)
    assert result.stdout == "FROM debian:12\nCOPY a /b\n"


def test_stats(folder: Path) -> None:
    out = lint(folder, "Dockerfile", "--stats").stdout.splitlines()
    assert [line.split()[:2] for line in out] == [["1", "DL3014"], ["1", "DL3015"], ["1", "DL3020"]]


def test_baseline_hides_what_is_known_and_no_more(folder: Path) -> None:
    assert "3 findings" in lint(folder, "Dockerfile", "--baseline=known.json", "--write-baseline", status=0).stderr
    lint(folder, "Dockerfile", "--baseline=known.json", status=0)
    (folder / "Dockerfile").write_text(f"# a line more\n{DIRTY}ADD other /other\n")
    found = codes(lint(folder, "Dockerfile", "--baseline=known.json", "--format=json", status=1))
    assert found == [("Dockerfile", 5, "DL3020")]
    (folder / "Dockerfile").write_text(CLEAN)
    assert "3 of its findings are gone" in lint(folder, "Dockerfile", "--baseline=known.json", status=0).stderr


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 9, "files": {}}', '{"version": 1, "files": {"a": [1]}}', "[" * 100000])
def test_baseline_that_is_none(folder: Path, content: str) -> None:
    (folder / "known.json").write_text(content)
    lint(folder, "Dockerfile", "--baseline=known.json", status=2)


def test_explain_prints_the_page(folder: Path) -> None:
    assert lint(folder, "--explain=apt-yes", status=0).stdout.startswith("# DL3014: apt-yes\n")


def test_a_secret_is_not_printed(folder: Path) -> None:
    secret = "ghp_a8Fk2LmQ9ZxT4vWc7RbN1yHs6JdP3gUe5KoX"
    (folder / "Dockerfile").write_text(f"FROM debian:12\nENV DEPLOY_TOKEN={secret}\n")
    for form in FORMATS:
        result = lint(folder, "Dockerfile", f"--format={form}", status=1)
        assert "DK0101" in result.stdout
        assert secret not in result.stdout + result.stderr
    lint(folder, "Dockerfile", "--baseline=known.json", "--write-baseline")
    assert secret not in (folder / "known.json").read_text()


def test_many_files_in_processes_give_the_same_report(folder: Path) -> None:
    for number in range(40):
        (folder / f"{number:02}.dockerfile").write_text(DIRTY if number % 2 else "from debian:12 as A\nRUN cd /x\n")
    alone = lint(folder, ".", "--jobs=1", "--format=json", status=1)
    shared = lint(folder, ".", "--jobs=4", "--format=json", status=1)
    assert alone.stdout == shared.stdout
    assert len(codes(alone)) > 80


def test_start_up_loads_nothing_heavy(folder: Path) -> None:
    script = (
        "import sys; from dockc.line.main import run; run(['lint', 'Dockerfile', '--no-fail', '--no-shellcheck']);"
        "bad = {'asyncio', 'urllib3', 'sqlite3', 'rich', 'multiprocessing', 'concurrent.futures', 'google.protobuf', 'dockc.solver', 'dockc.runtime'};"
        "sys.exit(','.join(sorted(bad & set(sys.modules))) or 0)"
    )
    env = os.environ | {"PYTHONPATH": str(REPO)}
    result = subprocess.run([sys.executable, "-c", script], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_ignore_files_count_for_buildkits_checks_and_not_for_hadolint(folder: Path) -> None:
    ignored = folder / "Dockerfile.ignored"
    ignored.write_text("FROM debian:12.5-slim\nCOPY app.log /var/log/\n")
    (folder / "Dockerfile.ignored.dockerignore").write_text("*.log\n")
    assert codes(lint(folder, ignored.name, "--profile=buildkit", "--format=json", status=1)) == [(ignored.name, 2, "CopyIgnoredFile")]
    (folder / "Dockerfile.ignored.dockerignore").write_text("*.txt\n")
    assert codes(lint(folder, ignored.name, "--profile=buildkit", "--format=json", status=0)) == []
    (folder / "Dockerfile.ignored.dockerignore").write_text("*.log\n")
    assert codes(lint(folder, ignored.name, "--profile=hadolint", "--format=json", status=0)) == []


def test_rules_of_other_packages(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    site = tmp_path_factory.mktemp("site")
    (site / "acme_rules.py").write_text(
        "from dockc.linter.rule import Hit, Rule\n"
        "class NoCurl(Rule):\n"
        '    """Reports curl.\n\n    ## Why\n\n    House rule.\n    """\n'
        "    code = 'ACME1'\n    name = 'no-curl'\n    summary = 'curl'\n    bad = ''\n    good = ''\n"
        "    def check(self, context):\n"
        "        for script in context.runs:\n"
        "            if 'curl' in script.shell.text:\n"
        "                yield Hit(script.instruction.span, 'curl is not for us')\n"
    )
    info = site / "acme_rules-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-rules\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dockc.rules]\nACME1 = acme_rules:NoCurl\n")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPO), str(site)])}
    argv = [sys.executable, "-m", "dockc", "lint", "Dockerfile", "--no-shellcheck", "--select=ACME1", "--format=tty"]
    result = subprocess.run(argv, cwd=folder, env=env, text=True, capture_output=True, check=False)
    assert (result.returncode, result.stdout) == (1, "Dockerfile:3 ACME1 warning: curl is not for us\n")


def test_standard_input_has_a_name_and_the_configuration_of_its_place(folder: Path) -> None:
    (folder / "sub" / "dockc.toml").write_text('[lint]\nignore = ["DL3020"]\n')
    shown = lint(folder, "-", "--stdin-filename", "sub/Dockerfile.new", "--format=json", "--select=DL3020,DL3014", stdin=DIRTY)
    assert codes(shown) == [("sub/Dockerfile.new", 3, "DL3014")]
    assert {code for _, _, code in codes(lint(folder, "-", "--format=json", "--select=DL3020,DL3014", stdin=DIRTY))} == {"DL3020", "DL3014"}


def test_what_is_no_text_is_one_finding(folder: Path) -> None:
    (folder / "Dockerfile.bin").write_bytes(bytes(range(256)) * 100)
    assert codes(lint(folder, "Dockerfile.bin", "--format=json", status=1)) == [("Dockerfile.bin", 1, "unreadable")]


@pytest.mark.parametrize("form", FORMATS)
def test_names_and_bytes_of_files_cannot_break_a_report(folder: Path, form: str) -> None:
    name = os.fsdecode(b"Dockerfile.\xff\x1b[31m\n#%<")
    (folder / name).write_bytes(b"FROM debian:12\nR\xfe\x1b\n")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKC_", "HADOLINT_"))} | {"PYTHONPATH": str(REPO)}
    argv = [sys.executable, "-m", "dockc", "lint", "--no-shellcheck", f"--format={form}", name]
    output = subprocess.run(argv, cwd=folder, env=env, capture_output=True, check=False, timeout=120).stdout
    text = output.decode()  # is UTF-8
    if form in {"text", "tty", "gnu"}:
        assert "\x1b" not in text
    if form in {"tty", "gnu", "github"}:
        assert len(text.splitlines()) == 1
    if form == "sarif":
        (place,) = (r["locations"][0]["physicalLocation"] for r in json.loads(text)["runs"][0]["results"])
        assert place["artifactLocation"]["uri"] == "Dockerfile.%FF%1B%5B31m%0A%23%25%3C"
        assert place["region"]["startLine"] == 2


def test_annotations_have_columns_where_they_are_on_one_line(folder: Path) -> None:
    shown = lint(folder, "Dockerfile", "--format=github", "--select=DL3014")
    assert shown.stdout.startswith("::warning file=Dockerfile,line=3,endLine=3,col=5,endColumn=27,title=DL3014::")


def test_an_empty_file_is_faulty_on_its_first_line(folder: Path) -> None:
    (folder / "Dockerfile").write_text("")
    assert codes(lint(folder, "Dockerfile", "--format=json", status=1)) == [("Dockerfile", 1, "DL1000")]


def test_a_link_is_fixed_through_and_modes_stay(folder: Path) -> None:
    (folder / "Dockerfile").rename(folder / "real")
    (folder / "real").chmod(0o640)
    (folder / "Dockerfile").symlink_to("real")
    lint(folder, "--fix", "Dockerfile")
    assert (folder / "Dockerfile").is_symlink()
    assert "COPY app" in (folder / "real").read_text()
    assert (folder / "real").stat().st_mode & 0o777 == 0o640
    assert [p.name for p in folder.iterdir() if p.name.startswith(".real")] == []


def test_what_hadolint_cannot_read_is_told_apart(folder: Path) -> None:
    (folder / "Dockerfile").write_text("FROM debian:12\nRUN <<-A cat <<-B\n\tx\n\tA\n\ty\n\tB\nFOO x\n")
    shown = lint(folder, "Dockerfile", "--profile=hadolint", "--format=json", status=3)
    assert codes(shown)[0][2] == "DL1000"
    assert codes(lint(folder, "Dockerfile", "--profile=hadolint", "--hadolint-status", "--format=json", status=1)) == codes(shown)
    lint(folder, "Dockerfile", "--profile=hadolint", "--no-fail", status=0)
    lint(folder, "Dockerfile", status=1)


@pytest.mark.skipif(find() is None, reason="no shellcheck")
@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_shellcheck_never_outlives_dockc(folder: Path, how: str) -> None:
    """However dockc is ended while ShellCheck works, nothing of it is left a moment later."""
    script = "true" + "".join(f" && \\\n  echo line{i}" for i in range(20_000))
    (folder / "Dockerfile").write_text(f"FROM debian:12\nRUN {script}\n")
    argv = [sys.executable, "-m", "dockc", "lint", "--no-cache", "Dockerfile"]
    process = subprocess.Popen(argv, cwd=folder, env={**os.environ, "PYTHONPATH": str(REPO)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert _until(lambda: bool(_below(process.pid)), 60), "ShellCheck has begun"
        started = _below(process.pid)
    finally:
        os.kill(process.pid, getattr(signal, how))
        process.wait(60)
    assert _until(lambda: not any(map(_lives, started)), 30), "and has ended"


def _below(pid: int) -> list[int]:
    """Processes that descend from one and run ShellCheck."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        for child in children.get(queue.pop(), ()):
            queue.append(child)
            found += [child] if _lives(child) else []
    return found


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("shellcheck") and ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def _until(holds: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
