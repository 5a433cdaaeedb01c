"""Image configs: exact bytes, tolerant reading, copies that do not share."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.compiler.image.config import ImageConfig
from dockc.compiler.image.parts import Healthcheck
from dockc.errors import CompileError
from dockc.oci.platform import Platform


def test_an_empty_image() -> None:
    image = ImageConfig.empty(Platform("linux", "arm", "v7"))
    assert image.marshal() == (
        b'{"architecture":"arm","os":"linux","variant":"v7","rootfs":{"type":"layers","diff_ids":null},"config":'
        b'{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"WorkingDir":"/"}}'
    )


def test_windows_sets_its_own_path() -> None:
    assert ImageConfig.empty(Platform("windows", "amd64")).env == []


def test_html_is_escaped_and_maps_are_sorted() -> None:
    image = ImageConfig()
    image.labels = {"b": "<&>", "a": "\u2028"}
    assert b'"Labels":{"a":"\\u2028","b":"\\u003c\\u0026\\u003e"}' in image.marshal()


def test_all_fields_in_their_order() -> None:
    image = ImageConfig.empty(Platform("windows", "amd64", "", "10.0.1", ("f",)))
    image.created = "2024-01-02T03:04:05Z"
    image.author = "me"
    image.user, image.stop_signal, image.args_escaped = "u", "9", True
    image.exposed_ports = {"9/tcp": None, "8/tcp": None}
    image.volumes = {"/v": None}
    image.entrypoint, image.cmd, image.shell, image.on_build = ["e"], ["c"], ["s"], ["RUN x"]
    image.healthcheck = Healthcheck(("NONE",), retries=2)
    image.commit("RUN x", "", layer=True)
    document = json.loads(image.marshal())
    assert list(document) == [
        *("created", "author", "architecture", "os", "os.version", "os.features", "rootfs", "history", "config")
    ]
    assert list(document["config"]) == [
        *("User", "ExposedPorts", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "StopSignal", "ArgsEscaped"),
        *("Healthcheck", "OnBuild", "Shell"),
    ]
    assert list(document["config"]["ExposedPorts"]) == ["8/tcp", "9/tcp"]


def test_names_are_read_in_any_case_and_unknown_fields_dropped() -> None:
    image = ImageConfig.parse(b'{"OS":"linux","CONFIG":{"env":["A=1"],"nope":1},"RootFS":{"diff_ids":[]},"x":{}}')
    assert (image.os, image.env, image.diff_ids) == ("linux", ["A=1"], [])
    assert b"nope" not in image.marshal()


def test_null_is_nothing() -> None:
    image = ImageConfig.parse(b'{"config":null,"os":null,"history":[null],"rootfs":{"diff_ids":null}}')
    assert (image.os, image.diff_ids, len(image.history)) == ("", None, 1)
    assert ImageConfig.parse(b"null").marshal() == ImageConfig().marshal()


@pytest.mark.parametrize(
    ("text", "shortest"),
    [
        ("2020-01-02T03:04:05.100+02:00", "2020-01-02T03:04:05.1+02:00"),
        ("2020-01-02T3:04:05,0Z", "2020-01-02T03:04:05Z"),
        ("2020-01-02T03:04:05-00:00", "2020-01-02T03:04:05Z"),
        ("2020-01-02T03:04:05+02:60", "2020-01-02T03:04:05+03:00"),
        ("0000-02-29T03:04:05.1234567899Z", "0000-02-29T03:04:05.123456789Z"),
    ],
)
def test_times_are_written_in_their_shortest_form(text: str, shortest: str) -> None:
    image = ImageConfig.parse(json.dumps({"created": text}).encode())
    assert image.created == shortest


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("2020-01-02", ' as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T"'),
        ("2020-01-02t03:04:05z", ' as "2006-01-02T15:04:05Z07:00": cannot parse "t03:04:05z" as "T"'),
        ("2020-1-02T03:04:05Z", ' as "2006-01-02T15:04:05Z07:00": cannot parse "1-02T03:04:05Z" as "01"'),
        ("2020-01-02T03:04:05.Z", ' as "2006-01-02T15:04:05Z07:00": cannot parse ".Z" as "Z07:00"'),
        ("2020-13-02T03:04:05Z", ": month out of range"),
        ("2020-01-02T24:00:00Z", ": hour out of range"),
        ("2021-02-29T03:04:05Z", ": day out of range"),
        ("2020-01-02T03:04:05+25:00", ": time zone offset hour out of range"),
        ("2020-01-02T03:04:05+02:61", ": time zone offset minute out of range"),
        ("2020-01-02T03:04:05Z \u00e9", ': extra text: " \\xc3\\xa9"'),
    ],
)
def test_texts_that_are_no_times_are_refused(text: str, problem: str) -> None:
    with pytest.raises(CompileError) as caught:
        ImageConfig.parse(json.dumps({"created": text}, ensure_ascii=False).encode())
    assert caught.value.message.startswith('parsing time "2')
    assert caught.value.message.endswith(problem)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "unexpected end of JSON input"),
        (b"{", "unexpected end of JSON input"),
        (b"x", "invalid character 'x' looking for beginning of value"),
        (b"[]", "json: cannot unmarshal array into Go value of type"),
        (
            b'{"config":{"env":"x"}}',
            "cannot unmarshal string into Go struct field DockerOCIImageConfig.config.ImageConfig.Env of type []string",
        ),
        (b'{"config":{"Cmd":[1]}}', "number into Go struct field DockerOCIImageConfig.config.ImageConfig.Cmd of type string"),
        (
            b'{"config":{"Healthcheck":{"Interval":1e3}}}',
            "number 1e3 into Go struct field HealthcheckConfig.config.DockerOCIImageConfigExt.Healthcheck.Interval of type ",
        ),
        (b'{"os":1,"author":2}', "number into Go struct field DockerOCIImage.Image.Platform.os of type string"),
        (b'{"rootfs":{"diff_ids":[{}]}}', "object into Go struct field RootFS.Image.rootfs.diff_ids of type digest.Digest"),
        (b'{"history":[{"created_by":true}]}', "bool into Go struct field History.Image.history.created_by of type string"),
        (b'{"os":1,"created":2}', "Time.UnmarshalJSON: input is not a JSON string"),
        (b'{"created":"now"}', 'cannot parse "now" as "2006"'),
        (b"[" * 100_000, ""),
    ],
)
def test_broken_configs_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        ImageConfig.parse(data)
    assert message in caught.value.message


def test_a_copy_shares_nothing_that_changes() -> None:
    image = ImageConfig.parse(b'{"config":{"Env":["A=1"],"Labels":{"l":"1"}},"history":[{"created_by":"x"}]}')
    copy = image.clone()
    copy.set_env("A", "2")
    copy.set_env("B", "3")
    copy.labels["l"] = "2"
    copy.commit("y", "", layer=False)
    assert (image.env, image.labels, len(image.history)) == (["A=1"], {"l": "1"}, 1)
    assert (copy.env, copy.labels, len(copy.history)) == (["A=2", "B=3"], {"l": "2"}, 2)


def test_a_variable_that_stands_twice_is_changed_where_it_stands_first() -> None:
    image = ImageConfig.parse(b'{"config":{"Env":["A=1","B","A=2"]}}')
    image.set_env("A", "9")
    image.set_env("B", "8")
    assert image.env == ["A=9", "B=8", "A=2"]


def test_a_long_history_is_no_deep_recursion() -> None:
    image = ImageConfig()
    for number in range(50_000):
        image.commit(str(number), "", layer=False)
        if number % 10_000 == 0:
            image = image.clone()
    assert [entry.created_by for entry in image.history[:2]] == ["0", "1"]
    assert len(image.history) == 50_000
    del image


TEXTS = st.text(max_size=8)
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "User": TEXTS,
        "Env": st.lists(TEXTS, min_size=1),
        "Cmd": st.lists(TEXTS, min_size=1),
        "Labels": st.dictionaries(TEXTS, TEXTS, min_size=1),
        "Volumes": st.dictionaries(TEXTS, st.just({}), min_size=1),
        "Healthcheck": st.fixed_dictionaries({"Test": st.lists(TEXTS, min_size=1), "Interval": st.integers(1, 10**12)}),
    },
)


@given(CONFIGS, TEXTS)
def test_writing_what_was_read_changes_nothing(config: dict[str, object], author: str) -> None:
    document: dict[str, object] = {"architecture": "a", "os": "o", "rootfs": {"type": "layers", "diff_ids": ["x"]}}
    if author:
        document["author"] = author
    if config.get("User") == "":
        del config["User"]
    document["config"] = config
    once = ImageConfig.parse(json.dumps(document).encode()).marshal()
    assert json.loads(once) == document
    assert ImageConfig.parse(once).marshal() == once
