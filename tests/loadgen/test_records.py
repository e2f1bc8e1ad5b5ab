"""Records survive being written and read."""

import string
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.records import COLUMNS, JobRecord, Outcome, RecordError, read_records, write_records

NUMBER = st.floats(0, 1e6)
MAYBE = st.none() | NUMBER
NAME = st.text(string.printable, min_size=1)
RECORDS = st.builds(
    JobRecord,
    index=st.integers(0),
    client=NAME,
    weight=NUMBER,
    arrived_s=NUMBER,
    input_tokens=st.integers(0),
    output_tokens=st.integers(0),
    pace_kind=NAME,
    ttft_due_s=NUMBER,
    rate=NUMBER,
    outcome=st.sampled_from(get_args(Outcome)),
    started_s=MAYBE,
    first_token_s=MAYBE,
    last_token_s=MAYBE,
    ended_s=MAYBE,
    produced=st.integers(0),
    qoe=st.floats(0, 1),
    pauses=st.none() | st.integers(0),
    stall_after_pause_s=MAYBE,
    reprefilled_tokens=st.none() | st.integers(0),
    engine=st.none() | NAME,
    error=st.none() | NAME,
)


@pytest.mark.parametrize("name", ["jobs.csv", "jobs.csv.gz"])
def test_what_is_written_is_read(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Digit by digit, with any client's name, packed or not."""

    @given(st.lists(RECORDS, max_size=5))
    def unchanged(records: list[JobRecord]) -> None:
        path = tmp_path_factory.mktemp("records") / name
        write_records(path, records)

        assert list(read_records(path)) == records

    unchanged()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"qoe": "x"}, ":2: could not convert"),
        ({"outcome": "lost"}, ":2: no outcome is called 'lost'"),
        ({"index": ""}, ":2: invalid literal"),
    ],
)
def test_an_error_names_the_line(tmp_path: Path, row: dict[str, str], said: str) -> None:
    """A wrong number, a word that is none of the outcomes, a hole where there is always something."""
    good = dict.fromkeys(COLUMNS, "1") | {"outcome": "finished"}
    path = tmp_path / "jobs.csv"
    path.write_text(f"{','.join(COLUMNS)}\n{','.join((good | row)[name] for name in COLUMNS)}\n")

    with pytest.raises(RecordError, match=said):
        list(read_records(path))


def test_another_table_is_refused(tmp_path: Path) -> None:
    """By its columns."""
    path = tmp_path / "jobs.csv"
    path.write_text("a,b\n1,2\n")

    with pytest.raises(RecordError, match=":1: these are not the columns"):
        list(read_records(path))
