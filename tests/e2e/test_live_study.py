"""The live study's parts over the network: gateways under their policies, the same load to all of them."""

import dataclasses

from gateway.emulator.profiles import PROFILES
from loadgen.studies.live import POLICIES, over_the_network
from loadgen.workload import Workload
from tests.loadgen.attacking import request


def test_every_policy_serves_the_same_load() -> None:
    """Two seats, one of the clients asks for most; keys are made, lengths are exact, everything ends."""
    requests = [request(k, 0.01 * k, "busy" if k % 4 else "calm", 20) for k in range(12)]
    workload = Workload("small", tuple(requests))
    profile = dataclasses.replace(PROFILES["fast"], max_num_seqs=2)
    outcomes = over_the_network(profile, {policy: (policy, workload) for policy in POLICIES})

    assert tuple(outcomes) == POLICIES
    for outcome in outcomes.values():
        assert {(record.outcome, record.produced) for record in outcome.records} == {("finished", 20)}
        assert [record.client for record in outcome.records] == [each.client for each in requests]
