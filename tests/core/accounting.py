"""Counters as a test wants them, and what happens to them."""

from hypothesis import strategies as st

from gateway.core.counters import Counters

TENANTS = ("a", "b", "c", "d")
Step = tuple[str, str, float]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["arrive", "settle", "charge", "charge"]), st.sampled_from(TENANTS), st.integers(-20, 200)
    ),
    max_size=60,
)


def act(counters: Counters, step: Step) -> None:
    name, tenant, amount = step
    if name == "arrive":
        counters.arrive(tenant)
    elif name == "charge":
        counters.charge(counters.account(tenant), amount)
    elif counters.backlogged(tenant):
        counters.settle(tenant)


def differences(counters: Counters) -> dict[str, float]:
    """Counters without their origin."""
    return {t: counters.account(t).counter - counters.account("a").counter for t in TENANTS}


def backlogged(**counters: float) -> Counters:
    """Tenants that want to run, with these counters."""
    made = Counters()
    for tenant, counter in counters.items():
        made.charge(made.account(tenant), counter)
    for tenant in counters:
        made.want(tenant)
    return made


def counter(counters: Counters, tenant: str) -> float:
    return counters.account(tenant).counter
