"""`/admin`: everything that needs the administrator's key."""

from collections.abc import Sequence

from fastapi import APIRouter

from gateway.api.admin_compare import Burst, compare_router
from gateway.api.admin_engines import MakeEngine, engines_router
from gateway.api.admin_keys import admin_dependency, keys_router
from gateway.api.admin_status import status_router
from gateway.api.auth import AdminAuth
from gateway.clock import Clock
from gateway.runtime.dispatcher import Dispatcher
from gateway.stores.base import KeyStore


def admin_routers(
    admin_key: str | None,
    keys: KeyStore,
    clock: Clock,
    dispatcher: Dispatcher,
    make_engine: MakeEngine,
    burst: Burst | None = None,
) -> Sequence[APIRouter]:
    """The administrator's calls; none at all without a key to protect them. `burst`: the demo's."""
    if admin_key is None:
        return ()
    admin = AdminAuth(admin_key)
    admin_only = admin_dependency(admin)
    return (
        keys_router(keys, clock, admin),
        status_router(dispatcher, admin_only),
        engines_router(dispatcher, admin, admin_only, make_engine),
        *([] if burst is None else [compare_router(burst, admin_only)]),
    )
