"""`andante verify-resume`: does a stream that is paused and resumed come out as one that was not?

Each stream runs twice, unbroken and with cuts at random points, against real engines through the gateway's own
adapters. With several engines each leg runs at the next one. Exit status: 0 all exact, 1 some are not, 2 not possible.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import httpx2
import uvloop

from gateway.engines.base import Endpoint, Engine, EngineSettings, Leg, LegRequest, Usage
from gateway.engines.transcript import Transcript
from gateway.errors import EngineError, EngineFailed, GatewayError
from gateway.wiring import ENGINES

Json = dict[str, Any]
SHOWN_DIVERGENCES: Final = 20
LEG_TIMEOUT_S: Final = 300.0
TOPICS: Final = ("the river 川", "a kettle 🫖", "two dogs 🐕‍🦺🐕", "the café in Łódź", "a family 👩‍👩‍👧‍👦", "rain")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `verify-resume`."""
    parser.add_argument(
        "--engine", action="append", required=True, metavar="URL", help="may be repeated: legs alternate"
    )
    parser.add_argument("--kind", action="append", choices=sorted(ENGINES), help="of each engine (default: vllm)")
    parser.add_argument("--model", help="name of the model (default: the first that the first engine lists)")
    parser.add_argument("--api-key", help="of the engines")
    parser.add_argument("--streams", type=int, default=20, metavar="N", help="default: %(default)s")
    parser.add_argument("--pauses", type=_range, default=(1, 5), metavar="MIN-MAX", help="default: 1-5")
    parser.add_argument(
        "--concurrency", type=int, default=1, metavar="N", help="streams at once (default: %(default)s)"
    )
    parser.add_argument("--max-tokens", type=int, default=128, metavar="N", help="of an answer (default: %(default)s)")
    parser.add_argument("--prompt-words", type=int, default=0, metavar="N", help="make prompts longer by so many words")
    parser.add_argument("--temperature", type=float, default=0.0, help="default: %(default)s")
    parser.add_argument("--completions", action="store_true", help="text completions instead of chats")
    parser.add_argument("--seed", type=int, default=1, help="of the pauses' places, and of sampling")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the report there as well")


def run(args: argparse.Namespace) -> int:
    """Verify and print the report."""
    try:
        report = uvloop.run(_verify(args))
    except GatewayError as error:
        print(f"andante verify-resume: {error.message}", file=sys.stderr)
        return 2
    text = json.dumps(report, indent=2)
    print(text)
    if args.json is not None:
        try:
            args.json.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            print(f"andante verify-resume: {args.json} cannot be written: {error.strerror}.", file=sys.stderr)
            return 2
    return 0 if report["exact"] == report["streams"] else 1


@dataclass
class Outcome:
    """What a client has of one stream, and what its legs cost."""

    text: str = ""
    thought: str = ""
    ids: list[int] = field(default_factory=list)
    finish: list[str] = field(default_factory=list)
    usage: list[int] = field(default_factory=list)
    ttft_s: list[float] = field(default_factory=list)
    resent: int = 0
    told: int = 0  # of these tokens, those of legs whose engine said how many it still knew
    reprefilled: int = 0
    cuts: int = 0

    def take(self, data: bytes) -> None:
        """Events as the client gets them."""
        for line in data.decode().split("\n\n"):
            if not line:
                continue
            chunk = json.loads(line.removeprefix("data: "))
            if usage := chunk.get("usage"):
                self.usage = [usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]]
            for choice in chunk["choices"]:
                delta = choice.get("delta", choice)
                self.text += delta.get("content") or delta.get("text") or ""
                self.thought += delta.get("reasoning") or delta.get("reasoning_content") or ""
                self.ids += choice.get("token_ids") or ()
                if choice["finish_reason"]:
                    self.finish.append(choice["finish_reason"])

    def same(self, other: "Outcome") -> bool:
        """Text, token ids (where they are told), usage and finish."""
        return self.says(other) and (self.ids, self.usage, self.finish) == (other.ids, other.usage, other.finish)

    def says(self, other: "Outcome") -> bool:
        """Text, each in its field."""
        return (self.text, self.thought) == (other.text, other.thought)


class _Sink:
    """The client's end of one leg, which is cut after so many new tokens (None: never)."""

    def __init__(self, outcome: Outcome, cut: int | None, begun_at: float) -> None:
        self.over: asyncio.Future[EngineError | None] = asyncio.get_running_loop().create_future()
        self.usage: Usage | None = None
        self.ttft_s: float | None = None
        self.cut = False
        self._outcome = outcome
        self._left = cut
        self._begun_at = begun_at

    def events(self, data: bytes, tokens: int) -> None:
        if self.cut:
            return  # said before the abort was
        if tokens and self.ttft_s is None:
            self.ttft_s = time.perf_counter() - self._begun_at
        self._outcome.take(data)
        if self._left is not None:
            self._left -= tokens
            if self._left <= 0:
                self.cut = True
                self._end(None)

    def counted(self, usage: Usage) -> None:
        self.usage = usage

    def completed(self) -> None:
        self._end(None)

    def answered(self, body: bytes, usage: Usage | None) -> None:  # noqa: ARG002 - the port's
        self._end(EngineFailed("The engine did not stream."))

    def failed(self, error: Exception) -> None:
        self._end(error if isinstance(error, EngineError) else EngineFailed(str(error)))

    def _end(self, error: EngineError | None) -> None:
        if not self.over.done():
            self.over.set_result(error)


async def _verify(args: argparse.Namespace) -> Json:
    engines = await _engines(args)
    try:
        gate = asyncio.Semaphore(args.concurrency)
        pairs = await asyncio.gather(*(_pair(args, engines, number, gate) for number in range(args.streams)))
    finally:
        for engine in engines:
            await engine.close()
    level = engines[0].can_resume(_request(args, engines[0], 0))
    return {"engines": args.engine, "level": level.level.value, **report_of(pairs)}


async def _engines(args: argparse.Namespace) -> list[Engine]:
    kinds = args.kind or ["vllm"]
    made: list[Engine] = []
    for number, url in enumerate(args.engine):
        kind = kinds[min(number, len(kinds) - 1)]
        model = args.model or (made[0].settings.model if made else await _first_model(url, args.api_key))
        made.append(ENGINES[kind](EngineSettings(f"engine-{number}", url, kind, model, api_key=args.api_key)))
        await made[-1].probe()
    return made


async def _first_model(url: str, api_key: str | None) -> str:
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    base = url.rstrip("/").removesuffix("/v1")
    try:
        async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=10.0) as http:
            answer = await http.get(f"{base}/v1/models")
        return str(answer.json()["data"][0]["id"])
    except (httpx2.HTTPError, ValueError, LookupError, TypeError) as error:
        raise EngineFailed(f"{url} lists no models: {type(error).__name__}.") from error


async def _pair(
    args: argparse.Namespace, engines: Sequence[Engine], number: int, gate: asyncio.Semaphore
) -> tuple[Outcome, Outcome]:
    draw = random.Random(f"{args.seed}-{number}")  # noqa: S311 - places of cuts, not secrets
    async with gate:
        whole = await _stream(args, engines[:1], number, 0, draw)
        pauses = draw.randint(*args.pauses)
        return whole, await _stream(args, engines, number, pauses, draw)


async def _stream(
    args: argparse.Namespace, engines: Sequence[Engine], number: int, pauses: int, draw: random.Random
) -> Outcome:
    """One stream; each leg but the last is cut at random in its share of what is left."""
    outcome, transcript = Outcome(), Transcript()
    for leg in range(pauses + 1):
        engine = engines[leg % len(engines)]
        request = _request(args, engine, number)
        request = replace(request, id=f"{request.id}-{pauses}-{leg}", transcript=transcript)
        if not (found := engine.can_resume(request)):
            raise EngineFailed(f"This engine cannot go on with the answer: {found.why}.")
        before = transcript.tokens
        share = 2 * (args.max_tokens - before) // (pauses - leg + 1)
        cut = draw.randint(1, max(1, share)) if leg < pauses else None
        sink = _Sink(outcome, cut, time.perf_counter())
        handle = await engine.start(request, sink)
        await _until_over(sink, handle)
        if before:
            _book(outcome, sink, (transcript.prompt_tokens or 0) + before)
        if not sink.cut:
            break
        outcome.cuts += not transcript.finished  # a late cut, behind the end, proves nothing
    return outcome


async def _until_over(sink: _Sink, leg: Leg) -> None:
    try:
        async with asyncio.timeout(LEG_TIMEOUT_S):
            error = await sink.over
    except TimeoutError as late:
        raise EngineFailed("The engine fell silent.") from late
    finally:
        if sink.cut or not sink.over.done():
            leg.abort()
    if error is not None:
        raise error


def _book(outcome: Outcome, sink: _Sink, resent: int) -> None:
    outcome.resent += resent
    if sink.ttft_s is not None:
        outcome.ttft_s.append(sink.ttft_s)
    if sink.usage is not None and sink.usage.cached_tokens is not None:
        outcome.told += resent
        outcome.reprefilled += resent - sink.usage.cached_tokens


def _request(args: argparse.Namespace, engine: Engine, number: int) -> LegRequest:
    content = f"{number}: tell me about {TOPICS[number % len(TOPICS)]}."
    content += " ".join(f" w{(number * 31 + each) % 977}" for each in range(args.prompt_words))
    body: Json = {"max_tokens": args.max_tokens, "temperature": args.temperature, "ignore_eos": True, "stream": True}
    if args.temperature:
        body["seed"] = args.seed + number
    body |= {"prompt": content} if args.completions else {"messages": [{"role": "user", "content": content}]}
    body |= {"model": engine.settings.model, "stream_options": {"include_usage": True}}
    endpoint = Endpoint.COMPLETIONS if args.completions else Endpoint.CHAT
    return LegRequest(f"verify-{number}", endpoint, body, stream=True, include_usage=True, include_token_ids=True)


def report_of(pairs: Sequence[tuple[Outcome, Outcome]]) -> Json:
    """Counts over pairs of unbroken and broken streams; times in milliseconds, divergences in tokens.

    Of engines that tell no token ids, nothing is said of tokens (None).
    """
    ids = any(whole.ids for whole, _ in pairs)
    diverged = sorted(_divergence(whole.ids, broken.ids) for whole, broken in pairs if whole.ids != broken.ids)
    times = sorted(1000 * each for _, broken in pairs for each in broken.ttft_s)
    told = sum(broken.told for _, broken in pairs)
    return {
        "streams": len(pairs),
        "paused": sum(broken.cuts > 0 for _, broken in pairs),
        "pauses": sum(broken.cuts for _, broken in pairs),
        "exact": sum(whole.same(broken) for whole, broken in pairs),
        "paused_token_exact": sum(whole.ids == broken.ids for whole, broken in pairs if broken.cuts) if ids else None,
        "token_exact": sum(whole.ids == broken.ids for whole, broken in pairs) if ids else None,
        "text_exact": sum(whole.says(broken) for whole, broken in pairs),
        "first_divergence": diverged[:SHOWN_DIVERGENCES],
        "resume_ttft_ms": {f"p{share}": _percentile(times, share) for share in (50, 90, 99)},
        "resent_tokens": sum(broken.resent for _, broken in pairs),
        "reprefilled_tokens": sum(broken.reprefilled for _, broken in pairs) if told else None,
        "reprefilled_of": told,
    }


def _divergence(one: Sequence[int], other: Sequence[int]) -> int:
    return next(place for place, (a, b) in enumerate(zip_longest(one, other)) if a != b)


def _percentile(ordered: Sequence[float], share: int) -> float | None:
    return round(ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 1) if ordered else None


def _range(text: str) -> tuple[int, int]:
    least, _, most = text.partition("-")
    found = int(least), int(most or least)
    if not 1 <= found[0] <= found[1]:
        raise argparse.ArgumentTypeError("must be like 1-5, at least 1")
    return found
