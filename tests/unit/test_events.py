"""Identity, partitions and names of events."""

import hashlib
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgy_bus.errors import ConfigurationError
from edgy_bus.events import Partition, check_name, new_event_id, partition_number, partitions_of


def test_ids_are_version_7_and_sort_by_time() -> None:
    before = time.time_ns() // 1_000_000
    ids = [uuid.UUID(new_event_id()) for _ in range(1_000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == 1_000
    assert all(one.version == 7 and one.variant == uuid.RFC_4122 for one in ids)
    assert all(before <= one.int >> 80 <= after for one in ids)


@given(st.text(), st.integers(1, 1024))
def test_a_partition_is_the_one_that_sql_computes(subject: str, partitions: int) -> None:
    bits = int(hashlib.md5(subject.encode()).hexdigest()[:8], 16)
    assert partition_number(subject, partitions) == bits % partitions


def test_partitions_do_not_change_from_release_to_release() -> None:
    assert [partition_number(str(key), 8) for key in range(10)] == [4, 0, 5, 6, 1, 7, 4, 7, 5, 6]


def test_the_stream_of_pre_events_has_no_order() -> None:
    assert not Partition("accounts.User", "pre").ordered
    assert all(one.ordered for one in partitions_of("accounts.User", 8))
    assert str(Partition("accounts.User", "3")) == "accounts.User:3"


@pytest.mark.parametrize("name", ["a", "accounts", "a.b-c_9"])
def test_good_names(name: str) -> None:
    assert check_name(name, "the service") == name


@pytest.mark.parametrize("name", ["", ".a", "-a", "a b", "a:b", "{a}", "a/b", "é"])
def test_bad_names_say_which_rule_they_break(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"the service .* may hold letters"):
        check_name(name, "the service")
