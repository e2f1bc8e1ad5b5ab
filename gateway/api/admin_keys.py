"""`/admin/keys`: what `andante keys` does, over HTTP, for whoever has the administrator's key.

The endpoints are coroutines although the store is synchronous: they have to run on the loop's own thread, and a change
to the local file takes a millisecond or so.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Security, status
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from gateway.api.auth import AdminAuth, guarded
from gateway.api.key_schemas import (
    IssuedKeyView,
    KeyCreate,
    KeyList,
    KeyPage,
    KeyPatch,
    KeyRotate,
    KeyView,
)
from gateway.api.schemas import ErrorBody, errors
from gateway.clock import Clock
from gateway.stores.base import KeyStore
from gateway.stores.key_records import KEY_ID_PATTERN

PathId = Annotated[str, Path(pattern=KEY_ID_PATTERN, description="the key's id, the part of its secret after `sk-`")]

_Responses = dict[int | str, dict[str, Any]]
_ERRORS: Final[_Responses] = {
    400: {"model": ErrorBody, "description": "A field is bad."},
    401: {"model": ErrorBody, "description": "The admin key is missing or wrong."},
    503: {"model": ErrorBody, "description": "The key store cannot be used now."},
}
_UNKNOWN: Final[_Responses] = {404: {"model": ErrorBody, "description": "There is no such key."}}
_REVOKED: Final[_Responses] = {409: {"model": ErrorBody, "description": "The key is revoked."}}
_WITH_BODY: Final[_Responses] = errors(413)


def keys_router(store: KeyStore, clock: Clock, admin: AdminAuth) -> APIRouter:
    """The routes over a store; every one of them asks `admin` first."""
    router = _router(admin)

    @router.get("", responses=_UNKNOWN)
    async def list_keys(page: Annotated[KeyPage, Query()]) -> KeyList:
        """Keys, oldest first, revoked ones too, behind the key `after`."""
        # One more than asked for tells whether there are more.
        keys = store.list(after=page.after, limit=page.limit + 1)
        return KeyList(data=[KeyView.of(key) for key in keys[: page.limit]], has_more=len(keys) > page.limit)

    @router.post("", status_code=status.HTTP_201_CREATED, responses=_WITH_BODY)
    async def create_key(body: KeyCreate) -> IssuedKeyView:
        """Make a key. The answer holds its secret, which cannot be had again."""
        return IssuedKeyView.with_secret(store.create(body.to_new_key(), now=clock.wall()))

    @router.get("/{key_id}", responses=_UNKNOWN)
    async def get_key(key_id: PathId) -> KeyView:
        """One key."""
        return KeyView.of(store.get(key_id))

    @router.patch("/{key_id}", responses=_UNKNOWN | _REVOKED | _WITH_BODY)
    async def update_key(key_id: PathId, body: KeyPatch) -> KeyView:
        """Change a key. What is absent stays as it is; null takes a restriction away."""
        return KeyView.of(store.update(key_id, body.to_changes(store.get(key_id).limits)))

    @router.post("/{key_id}/revoke", responses=_UNKNOWN)
    async def revoke_key(key_id: PathId) -> KeyView:
        """End a key at once and for ever; it stays in the list."""
        return KeyView.of(store.revoke(key_id, now=clock.wall()))

    @router.post("/{key_id}/rotate", responses=_UNKNOWN | _REVOKED | _WITH_BODY)
    async def rotate_key(key_id: PathId, body: KeyRotate | None = None) -> IssuedKeyView:
        """Give a key a new secret; the present one stays good for `grace_s` seconds."""
        grace_s = body.grace_s if body is not None else 0.0
        return IssuedKeyView.with_secret(store.rotate(key_id, now=clock.wall(), grace_s=grace_s))

    return router


def _router(admin: AdminAuth) -> APIRouter:
    return APIRouter(
        prefix="/admin/keys",
        tags=["keys"],
        dependencies=[Depends(admin_dependency(admin))],
        responses=_ERRORS,
        route_class=guarded(admin.check),
    )


def admin_dependency(admin: AdminAuth) -> Callable[..., Awaitable[None]]:
    """A dependency that lets only the administrator pass: Unauthenticated for everyone else."""
    bearer = HTTPBearer(auto_error=False, scheme_name="AdminKey", description="The administrator's key.")

    async def admin_only(
        request: Request, _documented: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]
    ) -> None:
        admin.check(request.headers)

    return admin_only
