"""How calls end: what one side says is what the other hears, and anything that is heard is some end."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from dockc.rpc.status import RpcError, error_of, trailers_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NAMES = st.sampled_from(["grpc-status", "grpc-message", "grpc-status-details-bin", ":status", "x"])
HEARD = st.one_of(
    st.text(st.characters(max_codepoint=300), max_size=12),
    st.sampled_from(["0", "5", "16", "200", "503", "%e2%82%ac", "%zz", "AAAA", "CAUSAWE=", "\u0663", "9" * 5000]),
)


@given(st.integers(1, 16), TEXTS, st.lists(st.tuples(TEXTS, st.binary()), max_size=3))
def test_an_error_arrives_as_it_was_sent(code: int, message: str, details: list[tuple[str, bytes]]) -> None:
    trailers = trailers_of(code, message, details)
    assert all(value.isascii() and value.isprintable() for _, value in trailers)
    found = error_of(trailers)
    assert found is not None
    assert (found.code, found.message, found.details) == (code, RpcError(message, code=code).message, tuple(details))


@given(st.lists(st.tuples(NAMES, HEARD), max_size=4))
@example([(":status", "9" * 5000)])  # Python reads no more than 4,300 digits
def test_anything_that_is_heard_is_an_end(trailers: list[tuple[str, str]]) -> None:
    found = error_of(trailers)
    assert found is None or found.code != 0


def test_no_more_is_sent_than_any_peer_takes() -> None:
    details = [("first", b"1"), ("large", bytes(20 << 20)), ("last", b"2")]
    found = error_of(trailers := trailers_of(2, "ä" * (50 << 20), details))
    assert sum(len(key) + len(value) for key, value in trailers) < 8 << 20
    assert found is not None
    assert found.message.startswith("ää")
    assert found.message.endswith("... (52428800 characters)")
    assert [url for url, _ in found.details] == ["first", "last"]
