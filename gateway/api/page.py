"""The chat and the comparison: two pages and the files beside them, all static and from this server only."""

from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

FOLDER: Final = "/web"

# Nothing is loaded from elsewhere, nothing inline runs, and a string becomes markup only through DOMPurify: what a
# model writes can neither act nor tell anybody that it was read.
POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types dompurify",
    ]
)
HEADERS: Final = {
    "cache-control": "no-cache",
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def install(app: FastAPI, web_root: Path) -> None:
    """Serve the chat at `/`, the comparison at `/compare`, files under `/web`. RuntimeError if that is not there."""

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(web_root / "index.html", headers=HEADERS)

    @app.get("/compare", include_in_schema=False)
    async def compare() -> FileResponse:
        return FileResponse(web_root / "compare.html", headers=HEADERS)

    app.mount(FOLDER, StaticFiles(directory=web_root), name="web")
