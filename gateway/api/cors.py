"""CORS for the SDKs that run in a browser."""

import re
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from gateway.api.context import REQUEST_ID, request_id_of

ASKED: Final = "access-control-request-headers"
ALLOWED: Final = "access-control-allow-headers"
# What OpenAI's SDKs say of themselves: ever more of it, and all of it harmless.
_OF_SDKS: Final = re.compile(r"(?:x-stainless|openai)-[a-z0-9-]{1,64}")


class SdkCors(CORSMiddleware):
    """Starlette's, with two things added: the SDKs' own headers are allowed by prefix, and a preflight has an id."""

    def preflight_response(self, request_headers: Headers) -> Response:
        asked = [name.strip().lower() for name in request_headers.get(ASKED, "").split(",") if name.strip()]
        of_sdks = [] if self.allow_all_headers else [name for name in asked if _OF_SDKS.fullmatch(name)]
        others = dict(request_headers)
        if of_sdks:
            del others[ASKED]
            if rest := [name for name in asked if name not in of_sdks]:
                others[ASKED] = ", ".join(rest)
        response = super().preflight_response(Headers(others))
        if of_sdks:
            response.headers[ALLOWED] = ", ".join([response.headers[ALLOWED], *of_sdks])
        response.headers[REQUEST_ID] = request_id_of(request_headers.get(REQUEST_ID, ""))
        return response
