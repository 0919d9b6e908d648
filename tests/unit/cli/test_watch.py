"""The watch over signals: its last words, and what a child of a fork inherits."""

import signal

from edgy_bus.cli.watch import Watch


def test_the_last_words_that_were_given_last_come_first(watch: Watch) -> None:
    said: list[str] = []
    watch.before_leaving(lambda reason: said.append(f"report: {reason}"))
    watch.before_leaving(lambda reason: said.append(f"kill: {reason}"))
    watch._say_last_words("over")
    assert said == ["kill: over", "report: over"]


def handlers_after_forgetting(watch: Watch) -> list[object]:
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    descriptor = signal.set_wakeup_fd(-1)
    try:
        signal.signal(signal.SIGINT, watch._on_signal)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # by the application
        watch._forget()
        return [signal.getsignal(number) for number in former]
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(descriptor)


def test_a_child_of_a_fork_keeps_the_handlers_of_the_application(watch: Watch) -> None:
    assert handlers_after_forgetting(watch) == [signal.default_int_handler, signal.SIG_IGN]
