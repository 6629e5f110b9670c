"""Uses OpenTelemetry where it is installed: the extra `flowq[tracing]`."""

from flowq.engine.ports import Tracing


def open_tracing() -> Tracing | None:
    """Return what makes spans; None where OpenTelemetry is not installed."""
    try:
        import opentelemetry.trace  # noqa: F401, PLC0415 - an extra
    except ModuleNotFoundError:
        return None
    from flowq.adapters.tracing.spans import OpenTelemetryTracing  # noqa: PLC0415 - see above

    return OpenTelemetryTracing()
