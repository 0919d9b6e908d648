"""Signatures: what is signed is accepted, and nothing else is."""

from typing import Any

import pytest

from edgy_bus.errors import ConfigurationError, EventError
from edgy_bus.events import Partition
from edgy_bus.signing import Signer
from tests.support import PARTITION

OLD, NEW = {"old": "o" * 16}, {"new": b"n" * 32}


def signed(
    signer: Signer, partition: Partition = PARTITION, **changes: bytes
) -> dict[bytes, bytes]:
    signature = signer.sign(partition, b"1", b"{}", b"[]")
    return {b"id": b"1", b"head": b"{}", b"data": b"[]", b"sig": signature} | {
        name.encode(): value for name, value in changes.items()
    }


def test_what_is_signed_is_accepted() -> None:
    Signer(OLD).check(PARTITION, signed(Signer(OLD)))


def test_keys_can_be_changed() -> None:
    both = Signer(NEW | OLD)
    both.check(PARTITION, signed(Signer(OLD)))
    Signer(NEW).check(PARTITION, signed(both))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": b"2"}, "wrong"),
        ({"head": b"{ }"}, "wrong"),
        ({"data": b"[1]"}, "wrong"),
        ({"head": b"{}[", "data": b"]"}, "wrong"),
        ({"sig": b""}, "not signed"),
        ({"sig": b"\xff\xfe"}, "not signed"),
        ({"sig": b"old:"}, "wrong"),
        ({"sig": b"other:00"}, "not known here"),
    ],
)
def test_what_was_changed_is_refused(changes: Any, reason: str) -> None:
    with pytest.raises(EventError, match=reason):
        Signer(OLD).check(PARTITION, signed(Signer(OLD), **changes))


def test_a_signature_holds_for_one_stream() -> None:
    with pytest.raises(EventError, match="wrong"):
        Signer(OLD).check(PARTITION, signed(Signer(OLD), Partition("accounts.User", "7")))


@pytest.mark.parametrize("keys", [{}, {"k": "short"}, {"a:b": "x" * 16}])
def test_weak_keys_are_refused(keys: Any) -> None:
    with pytest.raises(ConfigurationError):
        Signer(keys)
