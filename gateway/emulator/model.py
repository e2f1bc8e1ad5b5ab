"""The batch model of an engine: which sequences run, what each iteration costs, what memory holds.

Rules of this file: no I/O, no clock, no chance. `step()` plans one iteration, applies it, and says how long it takes;
whoever drives the model lets that time pass, on a wall clock or on a virtual one, before the tokens count as produced.

What an iteration does, after vLLM's scheduler:
  1. each decoding sequence computes one token; where it needs a KV block and none is free, the sequence that was
     admitted last is preempted: its blocks are freed and it goes back to the head of the queue, to be recomputed;
  2. prefills under way compute as many tokens as the iteration's budget leaves them;
  3. waiting sequences are admitted first come, first served, while budget, blocks and `max_num_seqs` allow; what the
     prefix cache knows of them is not computed again.

The cost of a step does not depend on the tokens: a decoding sequence is touched when it needs a block (once in
BLOCK_TOKENS steps) and when it ends. In between its position follows from the number of the step.
"""

from collections import OrderedDict
from collections.abc import Hashable
from operator import attrgetter

from gateway.emulator.blocks import BLOCK_TOKENS, BlockPool, blocks_for
from gateway.emulator.profiles import Profile
from gateway.emulator.sequences import Sequence, Step, Totals

_priority = attrgetter("priority")


class EngineModel:
    """See the module's text. All times are seconds, all lengths tokens."""

    def __init__(self, profile: Profile, *, by_priority: bool = False) -> None:
        """With `by_priority` the lowest number is admitted first and the highest preempted first, as in vLLM."""
        self.profile = profile
        self._by_priority = by_priority
        self.totals = Totals()
        self._pool = BlockPool(profile.blocks)
        self._waiting: OrderedDict[str, Sequence] = OrderedDict()
        self._running: dict[str, Sequence] = {}
        self._prefilling: dict[str, Sequence] = {}
        self._decoding: dict[str, None] = {}
        self._by_phase: list[dict[str, Sequence]] = [{} for _ in range(BLOCK_TOKENS)]
        self._ends: dict[int, dict[str, Sequence]] = {}
        self._steps = 0
        self._bases = 0
        self._left_waiting = 0

    def __repr__(self) -> str:
        return f"<EngineModel {self.profile.name}: {self.running} running, {self.waiting} waiting, {self._pool}>"

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def queued(self) -> int:
        """Those waiting because the last iteration had no room for them, not because it had begun without them."""
        return min(self._left_waiting, len(self._waiting))

    @property
    def kv_usage(self) -> float:
        """Share of the KV blocks in use, 0..1; what only the prefix cache remembers does not count."""
        return self._pool.used / self._pool.total

    def add(
        self,
        seq_id: str,
        length: int,
        max_tokens: int,
        *,
        ids: list[int] | None = None,
        key: Hashable = None,
        priority: int = 0,
    ) -> Sequence:
        """Queue a sequence with a prompt of `length` tokens.

        With `ids` the prefix cache goes by their contents and `key` is a salt: only equal salts share. Without, the
        cache goes by `key` and position alone (a resumed sequence that brings its old key finds its old blocks); with
        neither, the sequence is not cached. ValueError when it can never fit, or the id is in use.
        """
        if seq_id in self._running or seq_id in self._waiting:
            raise ValueError(f"sequence {seq_id} exists")
        if length < 1 or max_tokens < 1 or blocks_for(length + max_tokens) > self._pool.total:
            raise ValueError(f"sequence {seq_id}: {length} + {max_tokens} tokens do not fit the engine")
        sequence = Sequence(seq_id, length, max_tokens, ids, key, priority if self._by_priority else 0, length=length)
        self._waiting[seq_id] = sequence
        return sequence

    def remove(self, seq_id: str) -> bool:
        """Abort or end a sequence wherever it is; its full blocks stay in the prefix cache. False if unknown."""
        if self._waiting.pop(seq_id, None) is not None:
            return True
        sequence = self._running.get(seq_id)
        if sequence is None:
            return False
        self._leave(sequence)
        return True

    def step(self) -> Step | None:
        """Run one iteration; None when there is nothing to run."""
        if not self._running and not self._waiting:
            return None
        preempted: list[str] = []
        self._extend_decoders(preempted)
        chunks = self._plan_prefills(self.profile.max_batched_tokens - len(self._decoding), preempted)
        decoded = tuple(self._decoding)
        self._left_waiting = len(self._waiting)
        self.totals.max_waiting = max(self.totals.max_waiting, self._left_waiting)
        context = self._steps * len(decoded) - self._bases
        prefill = sum(tokens for _, tokens in chunks)
        duration = self.profile.iteration_s(len(decoded) + len(chunks), context, prefill)
        self._steps += 1
        finished = [seq.seq_id for seq in self._ends.pop(self._steps, {}).values()]
        started = self._advance_prefills(chunks, finished)
        self.totals.generation_tokens += len(decoded) + len(started)
        for seq_id in finished:
            self._leave(self._running[seq_id])
        return Step(duration, started, decoded, tuple(finished), tuple(preempted))

    def _extend_decoders(self, preempted: list[str]) -> None:
        for sequence in list(self._by_phase[self._steps % BLOCK_TOKENS].values()):
            if sequence.decoding:
                self._name_full_blocks(sequence)
                self._grow(sequence, 1, preempted)

    def _plan_prefills(self, budget: int, preempted: list[str]) -> list[tuple[Sequence, int]]:
        """Which prompts are computed in this iteration, and how many tokens of each."""
        chunks: list[tuple[Sequence, int]] = []
        for sequence in list(self._prefilling.values()):
            tokens = min(budget, sequence.length - sequence.computed)
            if tokens < 1 or sequence.seq_id not in self._running:
                continue
            needed = blocks_for(sequence.computed + tokens) - sequence.blocks
            if self._grow(sequence, needed, preempted):
                chunks.append((sequence, tokens))
                budget -= tokens
        if preempted:
            return [chunk for chunk in chunks if chunk[0].seq_id in self._running]
        while self._waiting and budget > 0 and len(self._running) < self.profile.max_num_seqs:
            sequence = self._next_waiting()
            tokens = self._admit(sequence, budget)
            if not tokens:
                break
            chunks.append((sequence, tokens))
            budget -= tokens
        return chunks

    def _admit(self, sequence: Sequence, budget: int) -> int:
        """Move the head of the queue into the batch; how many of its tokens run now, 0 when no memory is left."""
        known = self._known_prefix(sequence)
        cached = len(known) * BLOCK_TOKENS
        tokens = min(budget, sequence.length - cached)
        needed = blocks_for(cached + tokens) - len(known)
        if needed + self._pool.idle(known) > self._pool.available:
            return 0
        self._pool.share(known)
        self._pool.take(needed)
        del self._waiting[sequence.seq_id]
        sequence.keys = known
        sequence.hashed = len(known)
        sequence.chain = known[-1] if known else None
        sequence.blocks = len(known) + needed
        sequence.computed = cached
        self._running[sequence.seq_id] = self._prefilling[sequence.seq_id] = sequence
        if sequence.cached is None:
            sequence.cached = cached
            self.totals.prompt_tokens += sequence.prompt
            if self._cached(sequence):
                self.totals.prefix_queries += sequence.length
                self.totals.prefix_hits += cached
        return tokens

    def _advance_prefills(self, chunks: list[tuple[Sequence, int]], finished: list[str]) -> tuple[str, ...]:
        started = []
        for sequence, tokens in chunks:
            sequence.computed += tokens
            self._name_full_blocks(sequence)
            if sequence.computed < sequence.length:
                continue
            del self._prefilling[sequence.seq_id]
            started.append(sequence.seq_id)
            self._decode(sequence)
            left = sequence.max_tokens - (sequence.length - sequence.prompt)
            if left < 1:
                finished.append(sequence.seq_id)
            else:
                self._ends.setdefault(self._steps + left, {})[sequence.seq_id] = sequence
        return tuple(started)

    def _decode(self, sequence: Sequence) -> None:
        """From the next step on it computes a token a step: computed = steps - base."""
        sequence.length += 1
        sequence.base = self._steps - sequence.computed
        sequence.decoding = True
        self._decoding[sequence.seq_id] = None
        self._bases += sequence.base
        self._by_phase[sequence.base % BLOCK_TOKENS][sequence.seq_id] = sequence

    def _grow(self, sequence: Sequence, blocks: int, preempted: list[str]) -> bool:
        """Take blocks for a running sequence, preempting from the end of the batch; False if it lost its own place."""
        while not self._pool.take(blocks):
            victim = self._last_running()
            self._preempt(victim)
            preempted.append(victim.seq_id)
            if victim is sequence:
                return False
        sequence.blocks += blocks
        return True

    def _next_waiting(self) -> Sequence:
        if self._by_priority:
            return min(self._waiting.values(), key=_priority)  # of equals the first
        return next(iter(self._waiting.values()))

    def _last_running(self) -> Sequence:
        latest_first = reversed(self._running.values())
        return max(latest_first, key=_priority) if self._by_priority else next(latest_first)

    def _preempt(self, sequence: Sequence) -> None:
        self._leave(sequence)
        sequence.computed = sequence.blocks = sequence.hashed = 0
        sequence.keys = []
        self._waiting[sequence.seq_id] = sequence
        self._waiting.move_to_end(sequence.seq_id, last=False)
        self.totals.preemptions += 1

    def _leave(self, sequence: Sequence) -> None:
        """Out of the batch, its blocks free."""
        seq_id = sequence.seq_id
        del self._running[seq_id]
        self._prefilling.pop(seq_id, None)
        self._name_full_blocks(sequence)
        if sequence.decoding:
            sequence.length = self._position(sequence) + 1
            sequence.decoding = False
            del self._decoding[seq_id]
            self._bases -= sequence.base
            del self._by_phase[sequence.base % BLOCK_TOKENS][seq_id]
            end = sequence.prompt + sequence.max_tokens + sequence.base - 1
            ends = self._ends.get(end)
            if ends is not None:
                ends.pop(seq_id, None)
        self._pool.release(sequence.keys, sequence.blocks - len(sequence.keys))

    def _position(self, sequence: Sequence) -> int:
        """How many of its tokens are computed."""
        return self._steps - sequence.base if sequence.decoding else sequence.computed

    def _cached(self, sequence: Sequence) -> bool:
        return self.profile.prefix_cache and sequence.cacheable

    def _known_prefix(self, sequence: Sequence) -> list[Hashable]:
        """The keys of the leading blocks that the pool still has; at least one token is always left to compute."""
        known: list[Hashable] = []
        if self._cached(sequence):
            for key in sequence.block_keys(None, 0, (sequence.length - 1) // BLOCK_TOKENS):
                if not self._pool.known(key):
                    break
                known.append(key)
        return known

    def _name_full_blocks(self, sequence: Sequence) -> None:
        """Make the blocks that have become full findable; a block that another sequence computed too stays unnamed."""
        full = self._position(sequence) // BLOCK_TOKENS
        if full == sequence.hashed or not self._cached(sequence):
            return
        for key in sequence.block_keys(sequence.chain, sequence.hashed, full):
            sequence.chain = key
            if self._pool.name(key):
                sequence.keys.append(key)
        sequence.hashed = full
