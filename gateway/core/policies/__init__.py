"""The policies, one small class each, and the one table of their names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

from gateway.core.policies.andes import Andes, Objective
from gateway.core.policies.base import Policy
from gateway.core.policies.fair_qoe import FairQoe
from gateway.core.policies.fcfs import Fcfs
from gateway.core.policies.lqsf import Lqsf
from gateway.core.policies.round_robin import RoundRobin
from gateway.core.policies.rpm import Rpm
from gateway.core.policies.vtc import Vtc
from gateway.core.roster import Roster


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """A policy and the kind of counters that it goes by."""

    make: Callable[[Roster], Policy]
    lifts: bool = True
    predicts: bool = False
    knows_outputs: bool = False


POLICIES: Final[Mapping[str, PolicyRule]] = MappingProxyType(
    {
        "fcfs": PolicyRule(Fcfs),
        "round_robin": PolicyRule(RoundRobin),
        "lcf": PolicyRule(Vtc, lifts=False),
        "vtc": PolicyRule(Vtc),
        "vtc_predict": PolicyRule(Vtc, predicts=True),
        "lqsf": PolicyRule(Lqsf),
        "andes": PolicyRule(Andes),
        "andes_min": PolicyRule(partial(Andes, objective=Objective.MAX_MIN)),
        "andes_perfect": PolicyRule(partial(Andes, objective=Objective.PERFECT)),
        "fair_qoe": PolicyRule(FairQoe),
    }
)
"""By the name that a configuration gives; `find_policy` knows `rpm(N)` besides."""

DEFAULT_POLICY: Final = "fair_qoe"


def find_policy(name: str) -> PolicyRule:
    """The policy of this name: one of the table, or `rpm(N)` for N requests a minute. KeyError: there is none."""
    if name in POLICIES:
        return POLICIES[name]
    limit = name.removeprefix("rpm(").removesuffix(")")
    if name == f"rpm({limit})" and limit.isdecimal() and int(limit) > 0:
        return PolicyRule(partial(Rpm, limit=int(limit)))
    raise KeyError(name)
