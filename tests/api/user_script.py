"""What a user of the library writes."""

from typing import assert_type

import dockc
from dockc import llb
from dockc.compiler.compile import Compiled
from dockc.compiler.questions import Answers, Unanswered
from dockc.compiler.syntax.ast import Dockerfile
from dockc.errors import CompileError, DockcError, SyntaxFailure
from dockc.linter.finding import Finding
from dockc.linter.options import LintOptions

dockerfile = dockc.parse("FROM alpine:3 AS build\nRUN make\n")
assert_type(dockerfile, Dockerfile)
assert_type(dockerfile.stages[0].name, str)

try:
    compiled = dockc.compile("FROM scratch\nCOPY a /a\n", attrs={"platform": "linux/amd64"}, answers=Answers())
except Unanswered as unanswered:
    print(unanswered.requests)
except SyntaxFailure as failure:
    print(failure.locations)
except CompileError as error:
    print(error.message, error.hint)
else:
    assert_type(compiled, Compiled)
    assert_type(compiled.definition.to_bytes(), bytes)
    assert_type(compiled.image_json, bytes)

for finding in dockc.lint("FROM alpine\n", options=LintOptions()):
    assert_type(finding, Finding)
    print(finding.line, finding.code, finding.message)

assert_type(dockc.format("from alpine:3\n"), str)

state = llb.image("debian:12").env("A", "b").run("make", mounts=[llb.mount("/c")], secrets=[llb.Secret("s", target="/s")])
copied = state.mount("/c")
assert_type(copied, llb.State)
state = state.file(llb.copy(llb.local("context"), "/", "/src", dir_contents=True), llb.mkdir("/d", 0o700))
assert_type(state, llb.State)
definition = llb.merge(llb.scratch(), state).marshal(platform="linux/arm64")
assert_type(definition, llb.Definition)
assert_type(dockc.llb.image("x"), llb.State)
assert_type(dockc.__version__, str)
assert_type(DockcError("x").hint, str)
