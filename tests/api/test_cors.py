"""Preflights, and refusals that a page must be able to read."""

import logging

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.app import _middleware
from gateway.config import Server
from tests.api.asking import CHAT
from tests.api.conftest import BODY_BYTES, ORIGIN


def asking(*names: str, origin: str = ORIGIN) -> dict[str, str]:
    asked = {"origin": origin, "access-control-request-method": "POST"}
    return {**asked, "access-control-request-headers": ",".join(names)} if names else asked


@pytest.mark.parametrize(
    "names",
    [
        ("x-stainless-helper-method",),
        ("X-Stainless-Poll-Helper", "Content-Type", "Authorization"),
        ("openai-organization", "openai-project", "openai-beta", "x-request-id"),
        ("x-stainless-os", "x-stainless-something-new", "x-api-key"),
        ("content-type",),
        (),
    ],
)
async def test_what_sdks_send_is_allowed(client: httpx2.AsyncClient, names: tuple[str, ...]) -> None:
    """Each header that was asked for is named in the answer."""
    response = await client.options(CHAT, headers=asking(*names))
    allowed = {name.strip().lower() for name in response.headers["access-control-allow-headers"].split(",")}

    assert response.status_code == 200
    assert {name.lower() for name in names} <= allowed
    assert response.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("names", [("cookie",), ("x-stainless-os", "x-evil"), ("openai-",), ("openai-a b",)])
async def test_other_headers_are_not(client: httpx2.AsyncClient, names: tuple[str, ...]) -> None:
    """Beside allowed ones too. A refusal has the request's id."""
    response = await client.options(CHAT, headers={**asking(*names), "x-request-id": "preflight"})

    assert response.status_code == 400
    assert response.headers["x-request-id"] == "preflight"


async def test_a_foreign_origin_is_refused_with_an_id(client: httpx2.AsyncClient) -> None:
    """Whatever it asks for."""
    response = await client.options(CHAT, headers=asking("x-stainless-os", origin="https://evil.example"))

    assert response.status_code == 400
    assert response.headers["x-request-id"]
    assert "access-control-allow-origin" not in response.headers


async def test_every_origin_may_send_what_it_likes() -> None:
    """Where the configuration says so."""
    async with serving(Server(cors_origins=["*"])) as client:
        response = await client.options("/", headers=asking("x-anything", "x-stainless-os"))

    assert response.status_code == 200
    assert response.headers["access-control-allow-headers"] == "x-anything,x-stainless-os"


async def test_a_page_can_read_a_413(client: httpx2.AsyncClient) -> None:
    """It is refused before the application sees it."""
    response = await client.post(CHAT, content=b" " * (BODY_BYTES + 1), headers={"origin": ORIGIN})

    assert response.status_code == 413
    assert response.headers["access-control-allow-origin"] == ORIGIN


async def test_a_page_can_read_a_500() -> None:
    """A bug has the request's id too."""
    async with serving(Server(cors_origins=[ORIGIN])) as client:
        response = await client.get("/bug", headers={"origin": ORIGIN, "x-request-id": "bug"})

    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert response.headers["x-request-id"] == "bug"
    assert response.headers["access-control-allow-origin"] == ORIGIN


def serving(settings: Server) -> httpx2.AsyncClient:
    """An application with the gateway's middleware and a bug."""

    async def bug(_request: Request) -> Response:
        raise ZeroDivisionError

    app = Starlette(routes=[Route("/bug", bug)], middleware=_middleware(settings, logging.getLogger("test")))
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test")
