"""An engine in the test's own process, which keeps the bodies that it gets."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from tests.support.processes import Process
from tests.support.servers import MODEL, Engine

FINISHED: dict[str, Any] = {"index": 0, "finish_reason": "stop", "delta": {}}


class Recorder:
    """What a gateway has sent, newest last."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []


def handler(recorder: Recorder) -> type[BaseHTTPRequestHandler]:
    """As little of an engine as a gateway takes for one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            models = {"object": "list", "data": [{"id": MODEL, "object": "model", "max_model_len": 1 << 20}]}
            self._answer(json.dumps(models) if self.path == "/v1/models" else "")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            recorder.bodies.append(body)
            recorder.headers.append({name.lower(): value for name, value in self.headers.items()})
            if body.get("stream"):
                chunk = {"id": "x", "object": "chat.completion.chunk", "choices": [FINISHED, {**FINISHED, "index": 1}]}
                self._answer(f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n", "text/event-stream")
            else:
                message = {"role": "assistant", "content": "yes"}
                answer = {"id": "x", "object": "chat.completion", "model": MODEL}
                self._answer(json.dumps({**answer, "choices": [{**FINISHED, "message": message}]}))

        def _answer(self, text: str, kind: str = "application/json") -> None:
            body = text.encode()
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            pass

    return Handler


@contextmanager
def recording() -> Iterator[tuple[Engine, Recorder]]:
    """The engine, serving, and what it keeps."""
    recorder = Recorder()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(recorder)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            yield Engine(url=url, process=cast("Process", None), model=MODEL), recorder  # it runs in this process
        finally:
            server.shutdown()
