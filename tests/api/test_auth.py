"""Who calls: API keys and the administrator's key."""

import pytest
from starlette.datastructures import Headers

from gateway.api.auth import AdminAuth, authenticate
from gateway.errors import Unauthenticated
from gateway.stores.base import IssuedKey, NewKey
from gateway.stores.memory import MemoryKeyStore

NOW = 1_700_000_000.0
ADMIN = "an-admin-key-that-is-long"


@pytest.fixture
def store() -> MemoryKeyStore:
    return MemoryKeyStore()


@pytest.fixture
def issued(store: MemoryKeyStore) -> IssuedKey:
    return store.create(NewKey("plain", expires_at=NOW + 10), now=NOW)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("authorization", "Bearer {}"),
        ("Authorization", "bearer {}"),
        ("AUTHORIZATION", "BEARER   {} "),
        ("x-api-key", "{}"),
        ("X-Api-Key", " {} "),
    ],
)
def test_a_key_is_accepted_in_both_headers(store: MemoryKeyStore, issued: IssuedKey, name: str, form: str) -> None:
    """Bearer in any letter case, or x-api-key."""
    headers = Headers({name: form.format(issued.secret)})

    assert authenticate(headers, store, NOW) == issued.key


def test_another_scheme_leaves_the_other_header(store: MemoryKeyStore, issued: IssuedKey) -> None:
    """A proxy's Basic credentials do not hide x-api-key."""
    headers = {"authorization": "Basic dXNlcjpwYXNz", "x-api-key": issued.secret}

    assert authenticate(headers, store, NOW) == issued.key


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": ""}, {"authorization": "Bearer"}, {"authorization": "Bearer  "}, {"x-api-key": " "}],
)
def test_no_key_is_said_to_be_missing(store: MemoryKeyStore, headers: dict[str, str]) -> None:
    """The message says how to send one."""
    with pytest.raises(Unauthenticated, match="didn't provide an API key"):
        authenticate(headers, store, NOW)


@pytest.mark.parametrize("presented", ["sk-0123456789ab-" + "A" * 43, "secret-of-mine", "é\x00\udcff"])
def test_a_wrong_key_is_refused_without_being_repeated(store: MemoryKeyStore, presented: str) -> None:
    """The error holds no part of what was presented."""
    with pytest.raises(Unauthenticated, match="Incorrect API key") as refused:
        authenticate({"authorization": f"Bearer {presented}"}, store, NOW)

    assert presented not in repr(refused.value)


def test_revoked_and_expired_keys_get_the_same_answer(store: MemoryKeyStore, issued: IssuedKey) -> None:
    """The client is not told which."""
    headers = {"x-api-key": issued.secret}
    with pytest.raises(Unauthenticated) as expired:
        authenticate(headers, store, NOW + 10)
    store.revoke(issued.key.id, now=NOW)
    with pytest.raises(Unauthenticated) as revoked:
        authenticate(headers, store, NOW)

    assert expired.value.message == revoked.value.message == "Incorrect API key provided."


def test_the_admin_key_opens_only_with_bearer() -> None:
    """The right key passes; nothing, another key, another header do not."""
    admin = AdminAuth(ADMIN)
    admin.check({"authorization": f"Bearer {ADMIN}"})
    for headers in ({}, {"x-api-key": ADMIN}, {"authorization": ADMIN}, {"authorization": f"Bearer {ADMIN}x"}):
        with pytest.raises(Unauthenticated):
            admin.check(headers)


def test_the_admin_key_is_in_no_repr() -> None:
    """Only its hash is kept."""
    admin = AdminAuth(ADMIN)

    assert ADMIN not in repr(admin)
    assert ADMIN not in repr(vars(admin))
