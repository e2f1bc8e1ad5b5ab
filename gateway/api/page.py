"""The chat and the comparison: two pages and the files beside them, all static and from this server only."""

from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.responses import Response
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
# Without the first a browser may keep a file for a tenth of its age, and run an old one in a new page.
FILE_HEADERS: Final = {"cache-control": "no-cache", "x-content-type-options": "nosniff"}
HEADERS: Final = {**FILE_HEADERS, "content-security-policy": POLICY, "referrer-policy": "no-referrer"}


class Files(StaticFiles):
    """Files that a browser asks for anew each time; 304 where nothing has changed."""

    def file_response(self, *call: Any, **named: Any) -> Response:
        """As StaticFiles has it, with our headers."""
        response = super().file_response(*call, **named)
        response.headers.update(FILE_HEADERS)
        return response


def install(app: FastAPI, web_root: Path) -> None:
    """Serve the chat at `/`, the comparison at `/compare`, files under `/web`. RuntimeError if that is not there."""

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(web_root / "index.html", headers=HEADERS)

    @app.get("/compare", include_in_schema=False)
    async def compare() -> FileResponse:
        return FileResponse(web_root / "compare.html", headers=HEADERS)

    app.mount(FOLDER, Files(directory=web_root), name="web")
