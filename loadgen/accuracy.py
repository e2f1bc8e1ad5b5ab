"""`python -m loadgen accuracy`: how exact the generator's own clock is.

A server in a process of its own sends tokens on a schedule and writes into each event when it sent it, by the clock
that all processes of a machine share. The generator attacks it as it would any server. The difference between the time
that it took for a token and the time written there is the generator's error, with the network stack's share in it:
for the first token of a stream the whole difference, for the time between tokens the change of it.
"""

import argparse
import asyncio
import json
import multiprocessing
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing.connection import Connection as Pipe
from typing import Any, Final

import numpy as np
import uvloop

from gateway.core.pace import MACHINE
from loadgen.answers import Answer
from loadgen.arguments import count, positive
from loadgen.connections import clock
from loadgen.live_job import Asking, LiveJob
from loadgen.loops import open_loop, run_alone
from loadgen.sender import Attack, Outcome, Sender
from loadgen.tables import terminal
from loadgen.workload import Request

SENT_AT: Final = re.compile(rb'"sent_at":([0-9.]+)')
HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ARRIVALS_PER_S: Final = 487.0
"""Not a multiple of a usual rate, so that the tokens of the streams do not fall on the same instants."""

LIMITS_MS: Final = {"median": 1.0, "p99": 10.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `accuracy`."""
    parser.add_argument("--streams", type=count, default=500, metavar="N", help="streams at once")
    parser.add_argument("--rate", type=positive, default=5.0, metavar="R", help="tokens a second of each")
    parser.add_argument("--seconds", type=positive, default=20.0, metavar="S", help="length of a stream")


def run(args: argparse.Namespace) -> int:
    """Measure, print the errors; 1 if they are above the limits."""
    errors, outcome = measured(args.streams, args.rate, args.seconds)
    rows = [["", "first token (ms)", "between tokens (ms)"]]
    for name, rank in (("median", 50), ("p99", 99), ("max", 100)):
        rows.append([name, *(f"{np.percentile(each, rank) * 1000:.3f}" for each in errors)])
    print(terminal(rows))
    print(f"{len(errors[0])} streams, {len(errors[1])} gaps, generator at {outcome.cpu_share:.0%} of a core")
    missed = any(
        np.percentile(each, rank) * 1000 > LIMITS_MS[name]
        for each in errors
        for name, rank in (("median", 50), ("p99", 99))
    )
    print("MISSED" if missed else f"within {LIMITS_MS['median']:g} ms (median) and {LIMITS_MS['p99']:g} ms (p99)")
    return int(missed)


def measured(streams: int, rate: float, seconds: float) -> tuple[tuple[list[float], list[float]], Outcome]:
    """The errors in seconds of first tokens and of times between tokens, without their sign."""
    tokens = max(2, round(rate * seconds))
    requests = tuple(Request(k, k / ARRIVALS_PER_S, "c", 10, tokens, MACHINE) for k in range(streams))
    first: list[float] = []
    between: list[float] = []
    with scheduled_server(rate) as url:
        jobs: list[TracedJob] = []

        def traced(request: Request, planned: float) -> LiveJob:
            jobs.append(TracedJob(request, planned))
            return jobs[-1]

        async def attacked() -> Outcome:
            return await open_loop(Sender(Attack(url, Asking("m"), requests, {}), clock() + 0.5, traced))

        outcome = run_alone(attacked())
    for job in jobs:
        delays = job.delays
        first += [abs(each) for each in delays[:1]]
        between += [abs(b - a) for a, b in pairwise(delays)]
    return (first, between), outcome


class TracedJob(LiveJob):
    """A job that compares each event's own time with the time that the generator takes for it."""

    def __init__(self, request: Request, planned: float) -> None:
        super().__init__(request, planned)
        self.delays: list[float] = []
        self.answer = _Traced(self.delays)


class _Traced(Answer):
    def __init__(self, delays: list[float]) -> None:
        super().__init__()
        self._delays = delays

    def feed(self, data: bytes, now: float) -> None:
        super().feed(data, now)
        self._delays.extend(now - float(sent) for sent in SENT_AT.findall(data))


@contextmanager
def scheduled_server(rate: float) -> Iterator[str]:
    """The URL of the server, in a process that is ended afterwards."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve, args=(theirs, rate), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Pipe, rate: float) -> None:
    async def served() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Scheduled(loop, rate), "127.0.0.1", 0, backlog=4096)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(served())


class _Scheduled(asyncio.Protocol):
    """Answers a request with as many tokens as it asks for, `rate` a second."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rate: float) -> None:
        self._loop, self._step = loop, 1 / rate
        self._got = b""
        self._transport: Any = None
        self._left = 0
        self._begun = 0.0
        self._sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, blank, body = self._got.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if not blank or length is None or len(body) < int(length[1]):
            return
        self._got = b""
        self._left, self._sent, self._begun = int(json.loads(body)["max_tokens"]), 0, self._loop.time()
        self._transport.write(HEAD)
        self._token()

    def _token(self) -> None:
        if self._transport.is_closing():
            return
        self._sent += 1
        event = b'data: {"choices":[{"delta":{"content":"word "},"token_ids":[7]}],"sent_at":%.9f}\n\n' % clock()
        self._transport.write(b"%x\r\n%s\r\n" % (len(event), event))
        if self._sent < self._left:
            self._loop.call_at(self._begun + self._sent * self._step, self._token)
        else:
            self._transport.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
