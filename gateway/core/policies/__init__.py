"""The policies, one small class each, and the one table of their names."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from gateway.core.policies.base import Policy
from gateway.core.policies.fcfs import Fcfs
from gateway.core.policies.round_robin import RoundRobin

POLICIES: Final[Mapping[str, Callable[[], Policy]]] = MappingProxyType(
    {
        "fcfs": Fcfs,
        "round_robin": RoundRobin,
    }
)
