"""One job's account of what it was charged: prompt at selection, output as it comes, truth in the end.

Rules of this file (VTC, Sheng et al., OSDI'24, Algorithms 2 and 3):

1. What has been charged is always h(charged input, max(produced, reserved)): a prediction reserves output at
   selection, output is charged only beyond it, and what was not needed comes back at the end.
2. The engine's own counts replace estimates whenever they come.
3. A bill stays open through pauses. The prompt and the tokens that are computed again after one are the scheduler's
   own cost: measured as overhead, never charged.
"""

from dataclasses import dataclass

from gateway.core.accounts import Account
from gateway.core.costs import WEIGHTED_TOKENS, CostFunction, charged_input
from gateway.core.counters import Counters


@dataclass(slots=True)
class Bill:
    """A selected job's running account (tokens; `charged` in service units before the weight)."""

    account: Account
    prompt: int
    cached: int
    reserved: float
    produced: int = 0
    charged: float = 0.0
    closed: bool = False


class Cashier:
    """Opens, moves and closes the bills of one pool.

    `cost` is any h(input, output); `cached_price` the share of its price that a cached prompt token costs; with
    `predicts`, each job reserves its tenant's predicted output.
    """

    __slots__ = ("_cached_price", "_cost", "_counters", "_predicts")

    def __init__(
        self,
        counters: Counters,
        cost: CostFunction = WEIGHTED_TOKENS,
        *,
        cached_price: float = 0.0,
        predicts: bool = False,
    ) -> None:
        self._counters = counters
        self._cost = cost
        self._cached_price = cached_price
        self._predicts = predicts

    def select(self, tenant: str, prompt: int, *, cached: int = 0, predicted: float | None = None) -> Bill:
        """A job was selected: charges its prompt, and the predicted output (tokens; None: the tenant's own past, if
        this pool predicts at all).

        Does not lower the number of jobs that want to run: `Counters.settle` does.
        """
        bill = self._open(tenant, prompt, cached, predicted)
        self._settle(bill, bill.reserved)
        return bill

    def inherit(self, tenant: str, prompt: int, produced: int) -> Bill:
        """The bill of a job of which another gateway has charged the prompt, and so much output: nothing is charged."""
        bill = self._open(tenant, prompt, 0, None)
        bill.produced = produced
        bill.charged = self._due(bill, max(produced, bill.reserved))
        bill.account.billed += bill.charged
        return bill

    def produced(self, bill: Bill, total: int) -> None:
        """So many output tokens in all; a chunk may hold several. Charges what exceeds the reservation."""
        bill.produced = total
        if total > bill.reserved:
            self._settle(bill, total)

    def correct(
        self, bill: Bill, *, prompt: int | None = None, cached: int | None = None, produced: int | None = None
    ) -> None:
        """The engine's own counts, up or down; too late once the bill is closed."""
        if bill.closed:
            return
        bill.prompt = bill.prompt if prompt is None else prompt
        bill.cached = bill.cached if cached is None else cached
        bill.produced = bill.produced if produced is None else produced
        self._settle(bill, max(bill.produced, bill.reserved))

    def recomputed(self, bill: Bill, tokens: int) -> None:
        """A pause made the engine compute so many tokens again: overhead, free of charge."""
        bill.account.overhead += tokens

    def close(self, bill: Bill, *, finished: bool = True) -> None:
        """The job is over: refunds what was reserved and not produced.

        Only an answer that finished teaches the prediction. Closing twice changes nothing.
        """
        if bill.closed:
            return
        bill.closed = True
        self._settle(bill, bill.produced)
        bill.account.open_bills -= 1
        bill.account.billed -= bill.charged
        if finished:
            bill.account.outputs.append(bill.produced)

    def _open(self, tenant: str, prompt: int, cached: int, predicted: float | None) -> Bill:
        account = self._counters.account(tenant)
        if predicted is None:
            predicted = account.predicted_output if self._predicts else 0.0
        account.open_bills += 1
        return Bill(account, prompt, cached, predicted)

    def _due(self, bill: Bill, output: float) -> float:
        return self._cost(charged_input(bill.prompt, bill.cached, self._cached_price), output)

    def _settle(self, bill: Bill, output: float) -> None:
        due = self._due(bill, output)
        if due != bill.charged:
            self._counters.charge(bill.account, due - bill.charged)
            bill.account.billed += due - bill.charged
            bill.charged = due
