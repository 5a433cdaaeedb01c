"""Templates and tables as Go's packages make them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.golang.tabwriter import aligned
from dockc.golang.template import Moment, NoList, Struct, Template, TemplateError

THING = Struct(
    {
        "ID": "abc", "Size": 12, "Parents": ["p", "q"], "Shared": True, "Never": None, "None": NoList(),
        "At": Moment("2026-01-02 03:04:05 +0000 UTC", "2026-01-02T03:04:05Z"), "Inner": Struct({"Name": "n<&>"}, {"Name": "name"}),
        "Labels": {"b": "2", "a": "1"},
        "Brief": Struct({"Name": "n", "Data": b"\0\xff", "No": 0, "None": NoList(), "Of": {}}, {"Name": "name"}, brief=True, text="its text"),
    },
    {"ID": "id", "Size": "size"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [  # what Go's text/template makes of the same values
        ("{{.ID}}: {{ .Size }}", "abc: 12"),
        ("plain", "plain"),
        ("{{.Inner.Name}} {{.At}} {{.Never}} {{.None}} {{.Parents}} {{.Labels}}", "n<&> 2026-01-02 03:04:05 +0000 UTC <nil> [] [p q] map[a:1 b:2]"),
        ("{{range .Parents}}<{{.}}>{{end}}", "<p><q>"),
        ("{{range .None}}x{{else}}none{{end}}", "none"),
        ("{{if .Shared}}yes{{else}}no{{end}}{{if .None}}yes{{else if .Size}}size{{else}}no{{end}}", "yessize"),
        ("{{with .Inner}}{{.Name}}{{end}}{{with .Never}}x{{end}}", "n<&>"),
        ("a  {{- .ID -}}  b", "aabcb"),
        ("{{/* nothing */}}{{.ID | upper}} {{lower \"AB\"}} {{upper (lower .ID)}}", "ABC ab ABC"),
        ('{{join .Parents ", "}} {{len .Parents}} {{len .ID}}', "p, q 2 3"),
        ('{{not .Shared}} {{and .Shared .ID}} {{or .Never "x"}} {{eq .Size 12}} {{eq .ID "x" "abc"}} {{ne .ID "x"}}', "false abc x true true true"),
        ("{{json .Inner}} {{json .Parents}} {{json .None}} {{json .At}}", '{"name":"n<&>"} ["p","q"] null "2026-01-02T03:04:05Z"'),
        ("{{json .ID}}{{println .ID}}", '"abc"abc\n'),
        ("{{`raw \\n`}}{{\"tab\\t\"}}", "raw \\ntab\t"),
        ("{{true}} {{3}}", "true 3"),
        ("{{json .Brief}} {{.Brief}}", '{"name":"n","Data":"AP8="} its text'),
    ],
)  # fmt: skip
def test_templates(text: str, shown: str) -> None:
    assert Template(text).render(THING) == shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{.ID", "unclosed action"), ("{{if .ID}}", "has no {{end}}"), ("{{end}}", "unexpected {{end}}"), ("{{frob .ID}}", '"frob" not defined'),
        ("{{.Nothing}}", "field Nothing"), ("{{.ID.More}}", "field More"), ("{{$x := 1}}", "not supported"), ("{{define \"x\"}}{{end}}", "not supported"),
        ("{{len}}", "wrong number of args"), ("{{len .Size}}", "cannot be applied"), ("{{(.ID}}", "unclosed left paren"), ("{{.ID)}}", "unexpected )"),
        ("{{}}", "a value is expected"), ("{{.ID .Size}}", "one alone"), ("{{else}}", "unexpected {{else}}"), ("{{if .ID}}{{else range}}{{end}}", "unexpected"),
        ("{{if .ID}}" * 99, "nested too deep"), ("{{" + "(" * 99 + "}}", "nested too deep"), ("{{.ID | }}", "a value is expected"),
    ],
)  # fmt: skip
def test_texts_that_are_no_templates(text: str, said: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(text).render(THING)
    assert said in str(caught.value)


@given(st.text(alphabet="{}.-|()\"`ID jsonifed\n", max_size=40))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    try:
        Template(text).render(THING)
    except TemplateError:
        pass


@pytest.mark.parametrize(
    ("text", "shown"),
    [  # what Go's text/tabwriter makes of it, by 8 and tabs
        ("", ""),
        ("a\n", "a\n"),
        ("ID:\tx\nCreated at:\ty\n", "ID:\t\tx\nCreated at:\ty\n"),
        ("ID:\tx\n\nCreated at:\ty\n", "ID:\tx\n\nCreated at:\ty\n"),
        ("1234567\tb\tc\n12345678\tb\n", "1234567\t\tb\tc\n12345678\tb\n"),
        ("\tname:\tvalue\n\tlonger name:\tvalue\n", "\tname:\t\tvalue\n\tlonger name:\tvalue\n"),
        ("a\tb\t\nlong long\tc\t\n", "a\t\tb\t\nlong long\tc\t\n"),
    ],
)  # fmt: skip
def test_columns(text: str, shown: str) -> None:
    assert aligned(text) == shown
