"""Traces become workloads: pieces, time scale, tenants, and errors that name the place."""

import gzip
import itertools
from pathlib import Path

import pytest

from loadgen.traces import TENANTS, TraceError, bundled, load_trace

ROWS = "arrived_s,input_tokens,output_tokens,client\n0,10,5,a\n1,20,6,b\n2,30,7,a\n4,40,8,c\n"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "own.csv"
    path.write_text(ROWS, encoding="utf-8")
    return path


def test_a_trace_becomes_requests_in_order(trace: Path) -> None:
    """Index, time, lengths and clients as they stand there; the name is the file's."""
    workload = load_trace(trace)

    assert workload.name == "own"
    assert [(r.index, r.arrived_s, r.client, r.input_tokens, r.output_tokens) for r in workload.requests] == [
        (0, 0, "a", 10, 5),
        (1, 1, "b", 20, 6),
        (2, 2, "a", 30, 7),
        (3, 4, "c", 40, 8),
    ]


def test_twice_the_rate_is_half_the_time(trace: Path) -> None:
    """A piece is chosen by the trace's time, moved to 0, then scaled."""
    workload = load_trace(trace, rate_scale=2, start_s=1, duration_s=3)

    assert [r.arrived_s for r in workload.requests] == [0, 0.5]


def test_clients_are_kept_whole(trace: Path) -> None:
    """Every second client by first appearance: a and c, with all that they asked."""
    workload = load_trace(trace, clients_every=2)

    assert [r.client for r in workload.requests] == ["a", "a", "c"]
    assert [r.index for r in workload.requests] == [0, 1, 2]


def test_a_packed_trace_is_the_same(trace: Path, tmp_path: Path) -> None:
    """The name says that it is packed."""
    packed = tmp_path / "own.csv.gz"
    packed.write_bytes(gzip.compress(ROWS.encode()))

    assert load_trace(packed) == load_trace(trace)


def test_without_clients_there_are_zipf_tenants(tmp_path: Path) -> None:
    """By seed; the first has about 1/H(20) = 28 % of the requests."""
    path = tmp_path / "anonymous.csv"
    path.write_text("output_tokens,arrived_s,input_tokens\n" + "".join(f"1,{k},1\n" for k in range(4000)))
    clients = [r.client for r in load_trace(path, seed=3).requests]

    assert len(set(clients)) == TENANTS
    assert 0.25 < clients.count("t1") / len(clients) < 0.31
    assert clients == [r.client for r in load_trace(path, seed=3).requests]
    assert clients != [r.client for r in load_trace(path, seed=4).requests]


@pytest.mark.parametrize("lead", ["", "\ufeff"])
def test_a_file_of_a_spreadsheet_is_read(tmp_path: Path, lead: str) -> None:
    """With a byte order mark, spaces after commas, CRLF, and blank lines at the end."""
    path = tmp_path / "sheet.csv"
    path.write_bytes(f"{lead}arrived_s, input_tokens, output_tokens, client\r\n0, 10, 5, a\r\n\r\n\r\n".encode())
    (request,) = load_trace(path).requests

    assert (request.input_tokens, request.output_tokens, request.client) == (10, 5, "a")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("arrived_s,input_tokens\n", ":1: column missing: output_tokens"),
        ("", ":1: column missing"),
        (ROWS + "5,x,1,a\n", ":6: invalid literal"),
        (ROWS + "5,1\n", ":6: list index"),
        (ROWS + "-1,1,1,a\n", ":6: times are not negative"),
        (ROWS + "nan,1,1,a\n", ":6: times are not negative"),
        (ROWS + "5,1,0,a\n", ":6: times are not negative, lengths at least 1"),
    ],
)
def test_an_error_names_file_and_line(tmp_path: Path, text: str, said: str) -> None:
    """So that it can be mended."""
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(TraceError) as error:
        load_trace(path)

    assert str(error.value).startswith(f"{path}{said}")


def test_what_is_not_packed_text_is_an_error(tmp_path: Path) -> None:
    """Not a traceback of gzip's."""
    path = tmp_path / "bad.csv.gz"
    path.write_text("plain")
    with pytest.raises(TraceError, match=r"bad\.csv\.gz"):
        load_trace(path)
    with pytest.raises(TraceError, match="no trace of that name here"):
        load_trace("nobody")


@pytest.mark.parametrize(
    ("name", "requests", "clients"),
    [
        ("azure_conv_2023", 19366, 20),
        ("mooncake_conversation", 12031, 7373),
        ("servegen_m-large_median_10min", 69094, 39),
        ("vtc_arena", 1500, 27),
    ],
)
def test_the_bundled_traces_are_there(name: str, requests: int, clients: int) -> None:
    """As their README says, in order of time."""
    found = load_trace(name).requests

    assert name in bundled()
    assert (len(found), len({r.client for r in found})) == (requests, clients)
    assert all(a.arrived_s <= b.arrived_s for a, b in itertools.pairwise(found))


def test_a_coarse_clock_makes_no_bursts() -> None:
    """Mooncake's times step by 3 s; spread out, no instant has two requests."""
    times = [r.arrived_s for r in load_trace("mooncake_conversation").requests]

    assert len(set(times)) == len(times)
