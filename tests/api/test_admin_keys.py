"""`/admin/keys` over HTTP."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from gateway.api import errors, openapi
from gateway.api.admin_keys import keys_router
from gateway.api.auth import AdminAuth
from gateway.clock import ManualClock
from gateway.stores.base import KeyStore
from gateway.stores.sqlite_keys import SqliteKeyStore

ADMIN = "an-admin-key-that-is-long"
UNKNOWN = "0123456789ab"


def make_app(store: KeyStore, clock: ManualClock) -> FastAPI:
    """The routes alone, with the gateway's own errors."""
    app = FastAPI()
    errors.install(app)
    openapi.install(app, ())
    app.include_router(keys_router(store, clock, AdminAuth(ADMIN)))
    return app


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[KeyStore]:
    store = SqliteKeyStore(tmp_path / "keys.db")
    yield store
    store.close()


@pytest.fixture
async def client(store: KeyStore, clock: ManualClock) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=make_app(store, clock)),
        base_url="http://gateway/admin",
        headers={"authorization": f"Bearer {ADMIN}"},
    ) as client:
        yield client


async def made(client: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    """The answer to a creation that works."""
    response = await client.post("/keys", json={"name": "plain", **fields})
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_a_made_key_works_and_shows_its_secret_once(
    client: httpx2.AsyncClient, store: KeyStore, clock: ManualClock
) -> None:
    """The secret is in the answer to POST and in no other."""
    answer = await made(client)
    secret = answer["secret"]
    key = store.find(secret, now=clock.wall())

    assert key is not None
    assert (key.id, key.name, f"sk-{key.id}-...") == (answer["id"], answer["name"], answer["prefix"])
    for path in ("/keys", f"/keys/{key.id}"):
        assert secret not in (await client.get(path)).text


async def test_every_field_comes_back(client: httpx2.AsyncClient) -> None:
    """What was sent is what is shown."""
    fields = {
        "name": "Zoë",
        "tenant": "lab",
        "weight": 2,
        "models": ["small", "org/large"],
        "expires_at": 1_800_000_000,
        "pace": {"kind": "reading", "language": "pt-BR", "words_per_minute": 200},
        "limits": {"requests_per_minute": 60, "tokens_per_minute": None, "concurrent_streams": 4},
    }
    answer = await made(client, **fields)
    shown = (await client.get(f"/keys/{answer['id']}")).json()

    assert {name: shown[name] for name in fields} == fields
    assert {name: answer[name] for name in shown} == shown
    assert shown["created_at"] == 1_700_000_000.0
    assert (shown["rotated_at"], shown["previous_until"], shown["revoked_at"]) == (None, None, None)


@pytest.mark.parametrize(
    ("pace", "kept"),
    [
        ("reading", "reading"),
        ({"kind": "machine"}, {"kind": "machine"}),
        ({"ttft": 1, "rate": 4.8}, {"ttft": 1.0, "rate": 4.8}),
        ({"kind": "listening", "words_per_minute": None}, {"kind": "listening"}),
        (None, None),
    ],
)
async def test_paces_are_kept_as_they_were_meant(client: httpx2.AsyncClient, pace: Any, kept: Any) -> None:
    """A word, an object, a rate, or none."""
    assert (await made(client, pace=pace))["pace"] == kept


async def test_a_change_touches_only_what_it_names(client: httpx2.AsyncClient) -> None:
    """Absent stays, null clears, limits change one by one."""
    key = await made(
        client,
        models=["m"],
        expires_at=1_800_000_000,
        pace="reading",
        limits={"requests_per_minute": 60, "tokens_per_minute": 1000},
    )
    response = await client.patch(
        f"/keys/{key['id']}", json={"weight": 3, "models": None, "limits": {"tokens_per_minute": None}}
    )
    changed = response.json()

    assert response.status_code == 200
    assert (changed["weight"], changed["models"], changed["pace"]) == (3.0, None, "reading")
    assert changed["limits"] == {"requests_per_minute": 60, "tokens_per_minute": None, "concurrent_streams": None}
    everything = {"name": "new", "expires_at": None, "pace": None}
    changed = (await client.patch(f"/keys/{key['id']}", json=everything)).json()
    assert {name: changed[name] for name in everything} == everything
    assert (await client.patch(f"/keys/{key['id']}", json={})).json() == changed


async def test_rotation_and_its_grace(client: httpx2.AsyncClient, store: KeyStore, clock: ManualClock) -> None:
    """Without a body the old secret ends at once, with a grace later."""
    key = await made(client)
    second = (await client.post(f"/keys/{key['id']}/rotate")).json()
    assert store.find(key["secret"], now=clock.wall()) is None
    third = (await client.post(f"/keys/{key['id']}/rotate", json={"grace_s": 60})).json()

    assert third["previous_until"] == clock.wall() + 60
    assert store.find(second["secret"], now=clock.wall()) is not None
    clock.advance(60)
    assert store.find(second["secret"], now=clock.wall()) is None
    assert store.find(third["secret"], now=clock.wall()) is not None


async def test_revocation(client: httpx2.AsyncClient, store: KeyStore, clock: ManualClock) -> None:
    """The key ends at once; it stays in the list; changing it is refused."""
    key = await made(client)
    revoked = await client.post(f"/keys/{key['id']}/revoke")

    assert (revoked.status_code, revoked.json()["revoked_at"]) == (200, clock.wall())
    assert store.find(key["secret"], now=clock.wall()) is None
    assert [each["id"] for each in (await client.get("/keys")).json()["data"]] == [key["id"]]
    assert (await client.patch(f"/keys/{key['id']}", json={"name": "x"})).status_code == 409
    assert (await client.post(f"/keys/{key['id']}/rotate")).status_code == 409
    assert (await client.post(f"/keys/{key['id']}/revoke")).json() == revoked.json()


async def test_the_list_is_paged(client: httpx2.AsyncClient) -> None:
    """has_more says whether to go on behind the last id."""
    ids = [(await made(client))["id"] for _ in range(3)]
    first = (await client.get("/keys", params={"limit": 2})).json()
    second = (await client.get("/keys", params={"limit": 2, "after": ids[1]})).json()

    assert ([key["id"] for key in first["data"]], first["has_more"]) == (ids[:2], True)
    assert ([key["id"] for key in second["data"]], second["has_more"]) == (ids[2:], False)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/keys"),
        ("POST", "/keys"),
        ("GET", f"/keys/{UNKNOWN}"),
        ("PATCH", f"/keys/{UNKNOWN}"),
        ("POST", f"/keys/{UNKNOWN}/revoke"),
        ("POST", f"/keys/{UNKNOWN}/rotate"),
    ],
)
async def test_nothing_opens_without_the_admin_key(client: httpx2.AsyncClient, method: str, path: str) -> None:
    """No key, a wrong one, and an API key that is good elsewhere: 401 on every route."""
    api_key = (await made(client))["secret"]
    for value in ("", "Bearer wrong", f"Bearer {api_key}"):
        response = await client.request(method, path, json={"name": "x"}, headers={"authorization": value})
        assert response.status_code == 401
        assert api_key not in response.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/keys/{UNKNOWN}"),
        ("PATCH", f"/keys/{UNKNOWN}"),
        ("POST", f"/keys/{UNKNOWN}/revoke"),
        ("POST", f"/keys/{UNKNOWN}/rotate"),
        ("GET", f"/keys?after={UNKNOWN}"),
    ],
)
async def test_an_unknown_key_is_404(client: httpx2.AsyncClient, method: str, path: str) -> None:
    """With OpenAI's error object."""
    response = await client.request(method, path, json={})

    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


async def test_who_has_no_key_is_not_told_of_the_body(client: httpx2.AsyncClient) -> None:
    """401 comes before 400."""
    headers = {"authorization": "Bearer wrong", "content-type": "application/json"}
    response = await client.post("/keys", content=b"{", headers=headers)

    assert response.status_code == 401


BAD_BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"{}",
    b'{"name": ""}',
    b'{"name": 7}',
    b'{"name": "a\\u0000b"}',
    b'{"name": "\\ud800"}',
    b'{"name": "\xff"}',
    b'{"name": "x", "tenant": "\\u001b[31m"}',
    b'{"name": "x", "unknown": 1}',
    b'{"name": "x", "\\ud800": 1}',
    b'{"name": "x", "pace": {"\\ud800": 1}}',
    b'{"name": "x", "weight": NaN}',
    b'{"name": "x", "weight": Infinity}',
    b'{"name": "x", "weight": 1e999}',
    b'{"name": "x", "weight": "2"}',
    b'{"name": "x", "weight": true}',
    b'{"name": "x", "weight": 0}',
    b'{"name": "x", "expires_at": 1e300}',
    b'{"name": "x", "limits": {"tokens_per_minute": 9223372036854775808}}',
    b'{"name": "x", "limits": {"tokens_per_minute": ' + b"9" * 5000 + b"}}",
    b'{"name": "x", "limits": {"tokens_per_minute": 1.5}}',
    b'{"name": "x", "limits": {"tokens_per_minute": 0}}',
    b'{"name": "x", "models": []}',
    b'{"name": "x", "models": [""]}',
    b'{"name": "x", "pace": "fast"}',
    b'{"name": "x", "pace": {"kind": "reading", "language": "xx"}}',
    b'{"name": "x", "pace": {"rate": 0}}',
    b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
async def test_a_bad_body_is_400_and_makes_no_key(client: httpx2.AsyncClient, body: bytes) -> None:
    """Whatever the bytes: OpenAI's error object, never a 500."""
    response = await client.post("/keys", content=body, headers={"content-type": "application/json"})

    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")
    assert (await client.get("/keys")).json()["data"] == []


@pytest.mark.parametrize("path", ["/keys/no-id", "/keys/0123456789AB", "/keys/%00", "/keys?limit=0", "/keys?limit=x"])
async def test_a_bad_address_is_400(client: httpx2.AsyncClient, path: str) -> None:
    """An id that cannot be one, a page size out of range."""
    assert (await client.get(path)).status_code == 400


async def test_a_broken_store_is_503(client: httpx2.AsyncClient, store: KeyStore) -> None:
    """The client may come back."""
    store.close()
    response = await client.get("/keys")

    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


async def test_the_description_is_true(store: KeyStore, clock: ManualClock) -> None:
    """The security scheme is declared, 422 is not."""
    description = make_app(store, clock).openapi()
    operations = [operation for path in description["paths"].values() for operation in path.values()]

    assert description["components"]["securitySchemes"]["AdminKey"]["scheme"] == "bearer"
    assert all(operation["security"] == [{"AdminKey": []}] for operation in operations)
    assert all({"400", "401", "503"} <= operation["responses"].keys() for operation in operations)
    assert all("422" not in operation["responses"] for operation in operations)
    assert "default" not in description["components"]["schemas"]["KeyPatch"]["properties"]["weight"]
