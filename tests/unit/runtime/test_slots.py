from edgy_bus.runtime.slots import ReceiverSlots, Slots


def test_who_gets_none_is_called_once_when_one_is_free_in_the_order_of_asking() -> None:
    slots, called = Slots(1), list[str]()

    def first() -> None:
        called.append("first")
        assert slots.take(first)

    def second() -> None:
        called.append("second")
        assert slots.take(second)

    assert slots.take(first)
    assert not slots.take(first)
    assert not slots.take(second)
    assert not slots.take(first)
    assert slots.wanted
    slots.give_back()
    assert called == ["first"]
    slots.give_back()
    assert called == ["first", "second"]
    assert not slots.wanted


def test_who_is_forgotten_is_not_called() -> None:
    slots, called = Slots(1), list[str]()

    def waits() -> None:
        called.append("waits")

    assert slots.take(waits)
    assert not slots.take(waits)
    slots.forget(waits)
    assert not slots.wanted
    slots.give_back()
    assert called == []


def test_who_needs_none_any_more_lets_the_next_one_have_it() -> None:
    slots, called = Slots(1), list[str]()

    def needs_none() -> None:
        called.append("needs none")

    def takes() -> None:
        called.append("takes")
        assert slots.take(takes)

    assert slots.take(takes)
    assert not slots.take(needs_none)
    assert not slots.take(takes)
    slots.give_back()
    assert called == ["needs none", "takes"]
    assert not slots.wanted


async def test_a_turn_comes_with_a_slot_in_the_order_of_asking() -> None:
    slots = ReceiverSlots(1)
    first, second, third = [slots.stand_in_line("r") for _ in range(3)]
    assert (first.done(), second.done(), third.done()) == (True, False, False)
    second.cancel()
    slots.give_back("r")
    assert third.done()
    assert "r" in slots.full
    slots.give_back("r")
    assert "r" not in slots.full
