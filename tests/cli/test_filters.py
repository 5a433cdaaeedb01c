"""`--filter` in the words of two clients."""

from __future__ import annotations

import pytest

from dockc.commands.filters import read
from dockc.errors import UsageError

HOUR = 3600 * 10**9


@pytest.mark.parametrize(
    ("given", "filters", "age"),
    [
        ([], (), 0),
        (["type==regular"], ("type==regular",), 0),
        (["type==regular,description~=a", "id~=x"], ("type==regular,description~=a", "id~=x"), 0),
        (["type=regular"], ('type=="regular"',), 0),
        (["type=regular", "id=abc"], ('type=="regular",id~="abc"',), 0),
        (["type=regular", "description~=npm", "id~=x"], ('description~=npm,type=="regular"', 'id~=x,type=="regular"'), 0),
        (["inuse=true", "mutable=false", "shared=0", "inuse=false"], ("inuse,immutable,private,inuse==false",), 0),
        (["until=24h"], (), 24 * HOUR),
        (["unused-for=2h,type==regular"], ("type==regular",), 2 * HOUR),
        (['description=a "b",type==x'], ('type==x,description=="a \\"b\\""',), 0),
        (["description~=/a,b=c/"], ("description~=/a,b=c/",), 0),
        (['description=="x=1, y"'], ('description=="x=1, y"',), 0),
    ],
)  # fmt: skip
def test_what_is_asked(given: list[str], filters: tuple[str, ...], age: int) -> None:
    assert read(given) == (filters, age)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["colour=red"], "unknown filter 'colour'"), (["until=1h", "until=2h"], "only one"), (["until=soon"], "invalid duration: soon"),
        (["type=="], "expected a value"), (["id~=("], "no regular expression"), (["type==a,"], "name of a field"), (["=x"], "name of a field"),
    ],
)  # fmt: skip
def test_what_is_refused(given: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(given)
    assert said in caught.value.message
