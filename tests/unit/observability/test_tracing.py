"""One trace leads from a request through operation and stream to receivers, and what they write."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

import edgy_bus as edgy
from edgy_bus.observability.spans import SCHEMA
from edgy_bus.observability.tracing import use_opentelemetry
from edgy_bus.telemetry import spans
from tests.support import Told, eventually

RELAYING = edgy.RelaySettings(poll=0.05)
WORKING = edgy.WorkerSettings(lease=1.0, block=0.1, backoff=0.05)


class CountingSampler(Sampler):
    """Keeps every trace, and counts how often the SDK was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def should_sample(
        self, context: Any, trace_id: int, name: str, kind: Any, attributes: Any, *args: Any
    ) -> SamplingResult:
        self.asked += 1
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)

    def get_description(self) -> str:
        return "counts"


class Recorder:
    """The spans of a test."""

    def __init__(self) -> None:
        self.sampler = CountingSampler()
        self.provider = TracerProvider(sampler=self.sampler)
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")

    def named(self, beginning: str) -> list[ReadableSpan]:
        """Return the finished spans whose name begins with a text."""
        spans = self._exporter.get_finished_spans()
        return [span for span in spans if span.name.startswith(beginning)]

    async def one(self, beginning: str) -> ReadableSpan:
        """Wait for a finished span, and return it."""
        await eventually(lambda: bool(self.named(beginning)))
        [span] = self.named(beginning)
        return span


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    stop = use_opentelemetry(recorder.provider)
    yield recorder
    stop()
    assert spans() is None


class Shop:
    """A service with a worker in this process."""

    def __init__(self, folder: Path) -> None:
        self.bus = edgy.Bus(
            "memory://",
            service="shop",
            relaying=RELAYING,
            working=WORKING,
            events=edgy.EventSettings(partitions=1),
        )
        own = self.registry = edgy.Registry(f"sqlite:///{folder}/shop.sqlite", bus=self.bus)

        class Order(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            status: str = edgy.CharField(max_length=20, default="new")

            class Meta:
                registry = own

        self.Order: Any = Order
        self.bus.on_start(self.registry.create_all)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.bus, self.bus.worker():
            yield


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def context_of(span: ReadableSpan) -> SpanContext:
    assert span.context is not None
    return span.context


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def linked_by(span: ReadableSpan) -> set[int]:
    return {link.context.span_id for link in span.links}


async def test_a_request_an_operation_and_its_receiver_are_one_trace(
    recorder: Recorder, shop: Shop
) -> None:
    @shop.bus.receiver("shop.Order", "post_save", name="invoice", group="billing")
    async def invoice(sender: Any, instance: Any, **kwargs: Any) -> None:
        with recorder.tracer.start_as_current_span("print"):
            pass

    async with shop.running():
        with recorder.tracer.start_as_current_span("request") as request:
            order = await shop.Order.query.create()
        process = await recorder.one("process")
    [create], [inner] = recorder.named("create"), recorder.named("print")
    assert parent_of(create) == request.get_span_context().span_id
    assert parent_of(process) == context_of(create).span_id
    assert parent_of(inner) == context_of(process).span_id
    assert {context_of(span).trace_id for span in (create, process, inner)} == {
        request.get_span_context().trace_id
    }
    assert (create.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert (create.name, process.name) == ("create shop.Order", "process shop.Order")
    assert attributes_of(create) == {
        "messaging.system": "edgy_bus",
        "messaging.operation.name": "create",
        "messaging.operation.type": "create",
        "messaging.destination.name": "shop.Order",
        "edgy_bus.signal": "post_save",
    }
    described = attributes_of(process)
    assert described.pop("messaging.message.id")
    assert described == {
        "messaging.system": "edgy_bus",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "shop.Order",
        "messaging.consumer.group.name": "billing",
        "edgy_bus.receiver": "invoice",
        "edgy_bus.signal": "post_save",
        "edgy_bus.outcome": "done",
    }
    scope = process.instrumentation_scope
    assert scope is not None
    assert (scope.name, scope.schema_url) == ("edgy_bus", SCHEMA)
    assert order.id


async def test_what_a_receiver_writes_continues_the_trace(recorder: Recorder, shop: Shop) -> None:
    @shop.bus.receiver("shop.Order", "post_save", name="ship")
    async def ship(sender: Any, instance: Any, **kwargs: Any) -> None:
        order = await shop.Order.query.get(id=instance.id)
        await order.update(status="shipped")

    @shop.bus.receiver("shop.Order", "post_update", name="tell")
    async def tell(sender: Any, instance: Any, **kwargs: Any) -> None: ...

    async with shop.running():
        with recorder.tracer.start_as_current_span("request") as request:
            await shop.Order.query.create()
        await eventually(lambda: len(recorder.named("process")) == 2)
    told = next(
        span
        for span in recorder.named("process")
        if attributes_of(span)["edgy_bus.receiver"] == "tell"
    )
    assert context_of(told).trace_id == request.get_span_context().trace_id


async def test_the_relay_links_what_it_appends(recorder: Recorder, shop: Shop) -> None:
    @shop.bus.receiver("shop.Order", "post_save")
    async def handle(sender: Any, instance: Any, **kwargs: Any) -> None: ...

    async with shop.running():
        with recorder.tracer.start_as_current_span("request"):
            await shop.Order.query.create()
        await recorder.one("process")
    # A new stream refuses the first attempt, because the relay does not know its head.
    [create], [*_, send] = recorder.named("create"), recorder.named("send")
    assert linked_by(send) == {context_of(create).span_id}
    assert (send.parent, send.kind) == (None, SpanKind.CLIENT)
    assert attributes_of(send)["messaging.batch.message_count"] == 1
    assert attributes_of(send)["messaging.destination.partition.id"] == "0"


async def test_a_batch_links_its_operations(recorder: Recorder, shop: Shop) -> None:
    @shop.bus.receiver("shop.Order", "post_save", batch=edgy.Batch(size=2, wait=5.0))
    async def handle(sender: Any, instances: Any, events: Any, **kwargs: Any) -> None: ...

    async with shop.running():
        for _ in range(2):
            with recorder.tracer.start_as_current_span("request"):
                await shop.Order.query.create()
        process = await recorder.one("process")
    assert process.parent is None
    assert linked_by(process) == {context_of(span).span_id for span in recorder.named("create")}
    assert attributes_of(process)["messaging.batch.message_count"] == 2


Fail = Callable[[], Any]


def _raise() -> None:
    raise ValueError("no stock")


OUTCOMES: Sequence[tuple[Fail, str, str | None]] = [
    (_raise, "failed", "ValueError: no stock"),
    (lambda: edgy.dead_letter("unknown customer"), "dead_letter", "unknown customer"),
    (lambda: edgy.snooze(60), "snooze", None),
    (lambda: edgy.retry(after=60), "retry", None),
]


@pytest.mark.parametrize(("answer", "word", "reason"), OUTCOMES)
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("batch", [None, edgy.Batch(size=1)])
async def test_a_span_tells_the_outcome(
    recorder: Recorder,
    shop: Shop,
    answer: Fail,
    word: str,
    reason: str | None,
    *,
    waits: bool,
    batch: edgy.Batch | None,
) -> None:
    @shop.bus.receiver(
        "shop.Order", "post_save", batch=batch, retry=edgy.Retry(attempts=2, delay=60)
    )
    async def handle(sender: Any, **kwargs: Any) -> Any:
        if waits:
            await shop.Order.query.count()
        return answer()

    async with shop.running():
        with recorder.tracer.start_as_current_span("request"):
            await shop.Order.query.create()
        process = await recorder.one("process")
    assert attributes_of(process)["edgy_bus.outcome"] == word
    assert process.status.description == reason
    assert process.status.status_code is (StatusCode.ERROR if reason else StatusCode.UNSET)
    if word == "failed":
        [event] = process.events
        told = dict(event.attributes or {})
        assert attributes_of(process)["error.type"] == told["exception.type"] == "ValueError"
        assert "no stock" in str(told["exception.stacktrace"])


async def test_a_call_over_its_deadline_is_an_error(recorder: Recorder, shop: Shop) -> None:
    @shop.bus.receiver(
        "shop.Order", "post_save", deadline=0.05, retry=edgy.Retry(attempts=2, delay=60)
    )
    async def handle(sender: Any, **kwargs: Any) -> Any:
        await eventually(lambda: False)

    async with shop.running():
        with recorder.tracer.start_as_current_span("request"):
            await shop.Order.query.create()
        process = await recorder.one("process")
    assert process.status.status_code is StatusCode.ERROR
    assert "deadline" in str(process.status.description)


async def test_an_event_that_the_receiver_does_not_want_has_no_span(
    recorder: Recorder, shop: Shop
) -> None:
    handled: list[str] = []

    @shop.bus.receiver("shop.Order", "post_update", where=lambda order: order.status == "paid")
    async def handle(sender: Any, instance: Any, **kwargs: Any) -> None:
        handled.append(instance.status)

    async with shop.running():
        with recorder.tracer.start_as_current_span("request"):
            order = await shop.Order.query.create()
            await order.update(status="open")
            await order.update(status="paid")
        await eventually(lambda: handled == ["paid"])
        assert len(recorder.named("process")) == 1


async def test_a_decision_against_a_trace_is_kept_without_asking_again(
    recorder: Recorder, shop: Shop
) -> None:
    seen: list[SpanContext] = []

    @shop.bus.receiver("shop.Order", "post_save")
    async def handle(sender: Any, instance: Any, **kwargs: Any) -> None:
        seen.append(trace.get_current_span().get_span_context())

    refused = SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(0))
    async with shop.running():
        with trace.use_span(NonRecordingSpan(refused)):
            await shop.Order.query.create()
        await eventually(lambda: bool(seen))
    assert (seen[0].trace_id, seen[0].span_id, int(seen[0].trace_flags)) == (0xA, 0xB, 0)
    assert recorder.sampler.asked == 0


async def test_an_event_without_a_trace_begins_one(recorder: Recorder, shop: Shop) -> None:
    @shop.bus.receiver("shop.Order", "post_save")
    async def handle(sender: Any, instance: Any, **kwargs: Any) -> None: ...

    async with shop.running():
        await shop.Order.query.create()
        process = await recorder.one("process")
    assert process.parent is None
    assert recorder.named("create") == recorder.named("send") == []


async def test_an_operation_that_fails_says_so_without_values(
    recorder: Recorder, shop: Shop
) -> None:
    async with shop.bus:
        order = await shop.Order.query.create(id=7)
        with recorder.tracer.start_as_current_span("request"), pytest.raises(edgy.IntegrityError):
            await shop.Order.query.create(id=order.id)
    [create] = recorder.named("create")
    assert create.status.status_code is StatusCode.ERROR
    assert create.status.description is None
    assert list(create.events) == []


class BrokenProcessor(SpanProcessor):
    """A processor of the application with an error."""

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        raise RuntimeError("broken")


async def test_an_error_of_the_sdk_stops_nothing_and_is_reported_once(shop: Shop) -> None:
    handled: list[int] = []

    @shop.bus.receiver("shop.Order", "post_save")
    async def handle(sender: Any, instance: Any, **kwargs: Any) -> None:
        handled.append(instance.id)

    provider = TracerProvider()
    provider.add_span_processor(BrokenProcessor())
    request = NonRecordingSpan(SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1)))
    stop = use_opentelemetry(provider)
    try:
        with Told() as told:
            async with shop.running():
                with trace.use_span(request):
                    for _ in range(3):
                        await shop.Order.query.create()
                await eventually(lambda: len(handled) == 3)
    finally:
        stop()
    assert [fields["error"] for fields in told.of("tracing.failed")] == ["RuntimeError: broken"]


async def test_without_tracing_no_span_is_made(shop: Shop) -> None:
    recorder = Recorder()
    async with shop.bus:
        with recorder.tracer.start_as_current_span("request"):
            await shop.Order.query.create()
    assert [span.name for span in recorder.named("")] == ["request"]


def test_without_the_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "edgy_bus.observability.spans", None)
    with pytest.raises(edgy.ConfigurationError, match=r"pip install 'edgy_bus\[opentelemetry\]'"):
        use_opentelemetry()
