"""What every key store does."""

from collections.abc import Callable

import pytest

from gateway.core.limits import Limits
from gateway.errors import InvalidRequest, NotFound
from gateway.stores.base import KeyStore, NewKey
from tests.contracts.key_stores import FULL, NOW


def test_a_made_key_is_found_by_its_secret(store: KeyStore) -> None:
    """create returns the key and the secret that finds it."""
    issued = store.create(FULL, now=NOW)

    assert issued.key == store.find(issued.secret, now=NOW)
    assert issued.key == store.get(issued.key.id)
    assert [issued.key] == list(store.list())


def test_a_key_keeps_everything_it_was_made_with(store: KeyStore) -> None:
    """Every field comes back as it went in."""
    key = store.get(store.create(FULL, now=NOW).key.id)

    assert NewKey(key.name, key.tenant, key.weight, key.models, key.expires_at, key.pace, key.limits) == FULL
    assert (key.created_at, key.rotated_at, key.previous_until, key.revoked_at) == (NOW, None, None, None)
    assert f"sk-{key.id}-..." == key.prefix


def test_defaults_are_no_restrictions(store: KeyStore) -> None:
    """A key with only a name is its own tenant, allows every model and has no limit."""
    key = store.create(NewKey("plain"), now=NOW).key

    assert key.id == key.tenant
    assert (1.0, None, None, None, Limits()) == (key.weight, key.models, key.expires_at, key.pace, key.limits)
    assert key.allows("anything")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda secret: secret[:-1],
        lambda secret: secret + "A",
        lambda secret: secret[:-2] + ("AA" if not secret.endswith("AA") else "BB"),
        lambda secret: "sk-" + ("0" * 12 if not secret.startswith("sk-000000000000") else "1" * 12) + secret[15:],
        lambda secret: secret.upper(),
        lambda secret: secret + "\n",
        lambda secret: "",
        lambda secret: "\ud800\x00é" * 1000,
    ],
)
def test_anything_but_the_secret_finds_nothing(store: KeyStore, spoil: Callable[[str], str]) -> None:
    """A shortened, longer, changed, foreign or absurd secret is no key, and no error."""
    secret = store.create(NewKey("plain"), now=NOW).secret

    assert store.find(spoil(secret), now=NOW) is None
    assert store.find(secret, now=NOW) is not None


def test_secrets_have_the_documented_form_and_differ(store: KeyStore) -> None:
    """sk-<id>-<43 characters>, never the same."""
    issued = [store.create(NewKey("plain"), now=NOW) for _ in range(20)]

    assert 20 == len({each.secret for each in issued}) == len({each.key.id for each in issued})
    assert all(each.secret.startswith(f"sk-{each.key.id}-") for each in issued)
    assert {3 + 12 + 1 + 43} == {len(each.secret) for each in issued}


def test_a_secret_is_in_no_repr(store: KeyStore) -> None:
    """Printing what a store returns, or a store, shows no secret."""
    issued = store.create(FULL, now=NOW)
    random_part = issued.secret.split("-", 2)[2]

    for thing in (issued, issued.key, store, store.rotate(issued.key.id, now=NOW, grace_s=5)):
        assert random_part not in repr(thing)
    assert "secret" not in repr(issued)


def test_an_expired_key_is_not_found(store: KeyStore) -> None:
    """A key is good until just before expires_at."""
    secret = store.create(FULL, now=NOW).secret

    assert store.find(secret, now=NOW + 99.9) is not None
    assert store.find(secret, now=NOW + 100) is None


def test_rotation_ends_the_old_secret_at_once(store: KeyStore) -> None:
    """Without a grace only the new secret works, after earlier use too."""
    old = store.create(NewKey("plain"), now=NOW)
    assert store.find(old.secret, now=NOW) is not None
    new = store.rotate(old.key.id, now=NOW + 1)

    assert store.find(old.secret, now=NOW + 1) is None
    assert new.key == store.find(new.secret, now=NOW + 1)
    assert (new.key.rotated_at, new.key.previous_until) == (NOW + 1, None)
    assert old.key.id == new.key.id


def test_rotation_with_grace_keeps_the_old_secret_for_that_time(store: KeyStore) -> None:
    """Both secrets work until the grace has passed."""
    old = store.create(NewKey("plain"), now=NOW)
    new = store.rotate(old.key.id, now=NOW, grace_s=10)

    assert new.key == store.find(old.secret, now=NOW + 9.9) == store.find(new.secret, now=NOW + 9.9)
    assert store.find(old.secret, now=NOW + 10) is None
    assert store.find(new.secret, now=NOW + 10) is not None


def test_a_second_rotation_ends_the_oldest_secret(store: KeyStore) -> None:
    """Only the secret before the last rotation has a grace."""
    first = store.create(NewKey("plain"), now=NOW)
    second = store.rotate(first.key.id, now=NOW, grace_s=1000)
    store.rotate(first.key.id, now=NOW + 1, grace_s=10)

    assert store.find(first.secret, now=NOW + 1) is None
    assert store.find(second.secret, now=NOW + 1) is not None


def test_a_grace_does_not_outlive_revocation_or_expiry(store: KeyStore) -> None:
    """The old secret in its grace ends with the key."""
    old = store.create(FULL, now=NOW)
    store.rotate(old.key.id, now=NOW, grace_s=1000)
    assert store.find(old.secret, now=NOW + 100) is None
    store.revoke(old.key.id, now=NOW + 1)

    assert store.find(old.secret, now=NOW + 1) is None


def test_revocation_is_immediate_and_final(store: KeyStore) -> None:
    """A revoked key is not found, stays listed, keeps its first time, and takes no more changes."""
    issued = store.create(NewKey("plain"), now=NOW)
    assert store.find(issued.secret, now=NOW) is not None
    revoked = store.revoke(issued.key.id, now=NOW + 1)

    assert store.find(issued.secret, now=NOW + 1) is None
    assert store.find(issued.secret, now=NOW) is None
    assert revoked == store.revoke(issued.key.id, now=NOW + 2) == store.get(issued.key.id)
    assert revoked.revoked_at == NOW + 1
    with pytest.raises(InvalidRequest):
        store.rotate(issued.key.id, now=NOW + 3)
    with pytest.raises(InvalidRequest):
        store.update(issued.key.id, {"name": "again"})


def test_changes_touch_only_what_they_name(store: KeyStore) -> None:
    """update changes the given fields, and the next find sees them."""
    issued = store.create(FULL, now=NOW)
    store.find(issued.secret, now=NOW)
    key = store.update(issued.key.id, {"weight": 3.0, "expires_at": None, "models": None})

    assert key == store.find(issued.secret, now=NOW + 1e6)
    assert (key.weight, key.expires_at, key.models) == (3.0, None, None)
    assert (FULL.name, FULL.pace, FULL.limits) == (key.name, key.pace, key.limits)
    assert key == store.update(issued.key.id, {})


def test_unknown_keys_are_not_found(store: KeyStore) -> None:
    """Every method that takes an id raises NotFound for an unknown one."""
    for call in (
        lambda: store.get("0" * 12),
        lambda: store.update("0" * 12, {}),
        lambda: store.rotate("0" * 12, now=NOW),
        lambda: store.revoke("0" * 12, now=NOW),
        lambda: store.list(after="0" * 12),
    ):
        with pytest.raises(NotFound):
            call()


def test_a_list_goes_page_by_page_oldest_first(store: KeyStore) -> None:
    """after and limit walk all keys once, in the order in which they were made."""
    ids = [store.create(NewKey(f"key {n}"), now=NOW - n).key.id for n in range(5)]
    first = store.list(limit=2)
    second = store.list(after=first[-1].id, limit=2)
    third = store.list(after=second[-1].id, limit=2)

    assert ids == [key.id for key in (*first, *second, *third)]
    assert list(store.list(after=ids[-1])) == []


def test_a_full_store_drops_the_longest_revoked_key_or_refuses(make_store: Callable[[int], KeyStore]) -> None:
    """Memory is bounded: revoked keys give way, live ones never do."""
    store = make_store(3)
    a, b, c = (store.create(NewKey(name), now=NOW).key.id for name in "abc")
    with pytest.raises(InvalidRequest):
        store.create(NewKey("d"), now=NOW)
    store.revoke(c, now=NOW + 1)
    store.revoke(a, now=NOW + 2)
    d = store.create(NewKey("d"), now=NOW + 3).key.id

    assert [a, b, d] == [key.id for key in store.list()]
