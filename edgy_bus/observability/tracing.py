"""Turn tracing with OpenTelemetry on. The package is optional, and imported only then."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgy_bus import telemetry
from edgy_bus.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider


def use_opentelemetry(tracer_provider: "TracerProvider | None" = None) -> Callable[[], None]:
    """Make spans for operations, relays and calls of receivers in this process, from now on.

    Call it where the program configures OpenTelemetry; a worker's module is a good place.

    Args:
        tracer_provider: makes the spans; otherwise the provider that is set for the whole process.

    Returns:
        A function that ends the making of spans.

    Raises:
        ConfigurationError: the package is not installed (extra `edgy_bus[opentelemetry]`).
    """
    try:
        from edgy_bus.observability.spans import OpenTelemetrySpans  # noqa: PLC0415 - optional
    except ImportError:
        raise ConfigurationError(
            "use_opentelemetry() needs OpenTelemetry's API, which is not installed: "
            "pip install 'edgy_bus[opentelemetry]', and an SDK that exports the spans"
        ) from None
    return telemetry.make_spans(OpenTelemetrySpans(tracer_provider))
