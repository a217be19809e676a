"""The trace that a request or an event belongs to, in the text of W3C Trace Context.

It is handed on also where tracing is off, so nothing here needs OpenTelemetry. Source: W3C Trace Context, 3.2.
"""

import re

import falcon

_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
_SAMPLED = 1


def traceparent_of(req: falcon.Request) -> str | None:
    """Return what names the trace and the span under which a request is answered; None when there is none.

    Shape: that of our own span where the service traces, else the header; one that is malformed is as good as none.
    """
    own: str | None = getattr(req.context, "traceparent", None)
    if own is not None:
        return own
    header = req.get_header("traceparent")
    return header if header is not None and _FORM.fullmatch(header) else None


def sampled_trace_id(traceparent: str | None) -> str | None:
    """Return the id of the trace, None when it is not sampled, and no span of it is recorded."""
    match = _FORM.fullmatch(traceparent) if traceparent is not None else None
    return match[1] if match is not None and int(match[2], 16) & _SAMPLED else None
