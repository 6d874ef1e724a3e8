from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import codec
from mrhsm_p11.tokendir.settings import ClusterRecord, Connection, JournalStep, KeyRecord, Settings

TEXT = st.text(max_size=20)
BYTES = st.binary(max_size=40)
KEYS = st.none() | st.builds(KeyRecord, TEXT, TEXT, BYTES, TEXT, st.tuples(TEXT, TEXT))
STEPS = st.lists(st.builds(JournalStep, TEXT, TEXT, TEXT, TEXT), max_size=3).map(tuple)
CLUSTERS = st.builds(ClusterRecord, TEXT, KEYS, KEYS, KEYS, KEYS, st.booleans(), st.integers(0, 9), STEPS)
CONNECTIONS = st.builds(
    Connection,
    st.lists(TEXT, max_size=3).map(tuple),
    st.integers(0, 65535),
    TEXT,
    BYTES,
    BYTES,
    st.none() | BYTES.map(Secret),
    st.lists(TEXT, max_size=2).map(tuple),
    TEXT,
    st.none() | BYTES.map(Secret),
)
SETTINGS = st.builds(Settings, CONNECTIONS, st.none() | CLUSTERS, st.sampled_from(["file", "kmip"]), st.none() | TEXT)


@settings(max_examples=60, deadline=None)
@given(SETTINGS)
def test_settings_survive(value: Settings) -> None:
    assert codec.from_json(Settings, codec.parse(codec.canonical(codec.to_json(value)))) == value


def document() -> dict[str, object]:
    cluster = ClusterRecord("c", core_kek=KeyRecord("u", "AA", b"\1\2", earlier=("a", "b")))
    value = codec.to_json(Settings(Connection(("h",), client_key=Secret(b"k")), cluster))
    assert isinstance(value, dict)
    return dict(value)


def with_changed(path: str, change: object) -> dict[str, object]:
    changed: dict[str, object] = json.loads(json.dumps(document()))
    at: object = changed
    *parents, last = path.split(".")
    for name in parents:
        assert isinstance(at, dict)
        at = at[name]
    assert isinstance(at, dict)
    if change is Ellipsis:
        del at[last]
    else:
        at[last] = change
    return changed


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("connection", []),
        ("connection", None),
        ("connection.port", "5696"),
        ("connection.port", True),
        ("connection.port", ...),
        ("connection.addresses", "h"),
        ("connection.addresses", ["h", 1]),
        ("connection.client_key", "not base 64"),
        ("connection.client_key", 7),
        ("connection.ca_certificate", "QQ="),
        ("connection.extra", 1),
        ("cluster.enabled", 1),
        ("cluster.core_kek.uid", None),
        ("cluster.core_kek.earlier", ["a", None]),
        ("store", None),
    ],
)
def test_what_is_not_exactly_as_written_is_refused_with_its_place(path: str, change: object) -> None:
    assert codec.from_json(Settings, document()) == codec.from_json(Settings, with_changed("store", "kmip"))
    with pytest.raises(codec.Malformed, match=path.rsplit(".", maxsplit=1)[-1]):
        codec.from_json(Settings, with_changed(path, change))


@pytest.mark.parametrize("text", [b"", b"{", b'{"a":1,"a":1}', b"\xff", b"1.5", b"NaN", b"[" * 100_000])
def test_text_that_is_not_ours_is_refused(text: bytes) -> None:
    with pytest.raises(codec.Malformed):
        codec.parse(text)


def test_no_value_is_shown_in_an_error() -> None:
    with pytest.raises(codec.Malformed) as failure:
        codec.from_json(Settings, with_changed("connection.client_key", ["hush"]))
    assert "hush" not in str(failure.value)


def test_what_has_no_form_is_a_bug() -> None:
    @dataclasses.dataclass(frozen=True)
    class Odd:
        part: float

    with pytest.raises(TypeError, match="float has no JSON form"):
        codec.to_json(Odd(1.5))


def test_a_field_that_came_later_is_left_out_while_it_is_not_used() -> None:
    """So that an earlier version opens the token, and this one what an earlier version wrote."""
    earlier = document()
    assert isinstance(earlier["connection"], dict)
    assert "username" not in earlier["connection"]
    assert codec.from_json(Settings, earlier).connection.username == ""
    used = codec.to_json(Settings(Connection(username="me", password=Secret(b"p"))))
    assert isinstance(used, dict)
    assert isinstance(used["connection"], dict)
    assert (used["connection"]["username"], used["connection"]["password"]) == ("me", "cA==")
