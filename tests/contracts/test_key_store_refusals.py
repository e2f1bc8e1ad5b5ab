"""What no key store takes: bad fields, by name, and nothing is changed by them."""

import pytest

from gateway.core.limits import Limits
from gateway.errors import InvalidRequest
from gateway.stores.base import MAX_GRACE_S, KeyChanges, KeyStore, NewKey
from tests.contracts.key_stores import FULL, NOW

BAD_FIELDS: list[tuple[KeyChanges, str]] = [
    ({"name": ""}, "name"),
    ({"name": "x" * 101}, "name"),
    ({"name": "a\x00b"}, "name"),
    ({"name": "line\nbreak"}, "name"),
    ({"name": "\ud800"}, "name"),
    ({"weight": 0.0}, "weight"),
    ({"weight": -1.0}, "weight"),
    ({"weight": float("nan")}, "weight"),
    ({"weight": float("inf")}, "weight"),
    ({"weight": True}, "weight"),
    ({"models": ()}, "models"),
    ({"models": ("ok", "")}, "models"),
    ({"models": ("m",) * 101}, "models"),
    ({"expires_at": float("nan")}, "expires_at"),
    ({"expires_at": 1e300}, "expires_at"),
    ({"pace": "slowly"}, "pace"),
    ({"pace": {"kind": "reading", "language": "xx"}}, "pace.language"),
    ({"limits": Limits(tokens_per_minute=2**63)}, "limits.tokens_per_minute"),
    ({"tenant": "other"}, "tenant"),  # type: ignore[typeddict-unknown-key]
]


@pytest.mark.parametrize(("changes", "param"), BAD_FIELDS)
def test_a_bad_field_is_refused_by_name_and_changes_nothing(store: KeyStore, changes: KeyChanges, param: str) -> None:
    """Bounds hold on update; the key stays as it was."""
    key = store.create(FULL, now=NOW).key
    with pytest.raises(InvalidRequest) as refused:
        store.update(key.id, changes)

    assert param == refused.value.param
    assert key == store.get(key.id)


@pytest.mark.parametrize(
    ("new", "param"),
    [(NewKey(""), "name"), (NewKey("ok", tenant="\x1b[31m"), "tenant"), (NewKey("ok", weight=1e9), "weight")],
)
def test_a_bad_new_key_is_refused_and_not_kept(store: KeyStore, new: NewKey, param: str) -> None:
    """Bounds hold on create."""
    with pytest.raises(InvalidRequest) as refused:
        store.create(new, now=NOW)

    assert param == refused.value.param
    assert list(store.list()) == []


@pytest.mark.parametrize("grace_s", [-1.0, float("nan"), MAX_GRACE_S + 1])
def test_a_bad_grace_is_refused(store: KeyStore, grace_s: float) -> None:
    """The grace is bounded; the present secret stays good."""
    issued = store.create(NewKey("plain"), now=NOW)
    with pytest.raises(InvalidRequest):
        store.rotate(issued.key.id, now=NOW, grace_s=grace_s)

    assert store.find(issued.secret, now=NOW) is not None
