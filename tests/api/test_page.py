"""The chat's files over HTTP."""

import pytest

from gateway.api.page import POLICY
from tests.support.servers import Emulators, Gateways


@pytest.mark.parametrize(
    "path",
    ["/", "/compare", *(f"/web/{name}" for name in ("base.css", "chat.js", "chat.css", "compare.js", "licenses.txt"))],
)
async def test_the_page_and_its_files_need_no_key(emulator: Emulators, gateway: Gateways, path: str) -> None:
    """They hold nothing that is anybody's; a browser asks each time, so that no new page runs an old file."""
    served = gateway([emulator()])

    async with served.client() as client:
        answer = await client.get(path, headers={"authorization": ""})

    assert answer.status_code == 200
    assert len(answer.content) > 500
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/compare"])
async def test_a_page_forbids_what_it_does_not_need(emulator: Emulators, gateway: Gateways, path: str) -> None:
    """Nothing from elsewhere, nothing inline; the page itself has no inline script or style that this would break."""
    served = gateway([emulator()])

    async with served.client() as client:
        answer = await client.get(path)

    assert answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert "<style" not in answer.text
    assert answer.text.count("<script") == answer.text.count('<script type="module" src="/web/') == 1
    assert "//" not in answer.text.replace("<!doctype html>", "")


@pytest.mark.parametrize("path", ["/web/", "/web/none.js", "/web/../api/app.py", "/web/%2e%2e/api/app.py"])
async def test_nothing_else_is_served(emulator: Emulators, gateway: Gateways, path: str) -> None:
    """A file that is not there, or not the page's, is the gateway's own 404."""
    served = gateway([emulator()])

    async with served.client() as client:
        answer = await client.get(path)

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_url"
