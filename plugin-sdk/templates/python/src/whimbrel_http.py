"""HTTP for plugins in Python: `wasi: [http]` in plugin.yaml, and the grant `http: ["http://HOST:PORT"]`."""

import json

from componentize_py_types import Err, Ok

try:
    from wit_world.imports import outgoing_handler, streams
    from wit_world.imports import wasi_http_types as h
except ImportError:
    raise ImportError("whimbrel_http needs `wasi: [http]` in plugin.yaml") from None

from whimbrel import Unavailable


class HttpError(Unavailable):
    """There was no answer: not granted, nobody there, too late, too large."""


class Response:
    """An answer, whatever its status."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def text(self):
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    def json(self):
        """The body as a structure."""
        return json.loads(self.body)


def http_get(url, headers=None, timeout=10, most=8 << 20):
    """Gets a URL. The body may have `most` bytes; redirects are answers like others, and not followed."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    if scheme not in ("http", "https") or not authority:
        raise ValueError(f"{url!r}: give http://HOST:PORT/PATH")
    request = h.OutgoingRequest(h.Fields.from_list([(name, value.encode()) for name, value in (headers or {}).items()]))
    request.set_scheme(h.Scheme_Https() if scheme == "https" else h.Scheme_Http())
    request.set_authority(authority)
    request.set_path_with_query(slash + path or "/")
    options = h.RequestOptions()
    for set_timeout in (options.set_connect_timeout, options.set_first_byte_timeout, options.set_between_bytes_timeout):
        set_timeout(int(timeout * 1e9))
    try:
        with outgoing_handler.handle(request, options) as future:
            with future.subscribe() as ready:
                ready.block()
            answer = future.get()
    except Err as error:
        raise _failed(url, error.value) from None
    # A result within a result: the outer one is an error only where it was taken before.
    answer = answer.value
    if not isinstance(answer, Ok):
        raise _failed(url, answer.value)
    with answer.value as response:
        with response.headers() as fields:
            found = {name.lower(): value.decode("latin-1") for name, value in fields.entries()}
        return Response(response.status(), found, _body(url, response, most))


def _body(url, response, most):
    parts, size = [], 0
    with response.consume() as body, body.stream() as stream:
        while True:
            try:
                part = stream.blocking_read(1 << 16)
            except Err as error:
                if isinstance(error.value, streams.StreamError_Closed):
                    return b"".join(parts)
                raise HttpError(f"{url}: the answer broke off") from None
            size += len(part)
            if size > most:
                raise HttpError(f"{url}: the answer has more than {most} bytes")
            parts.append(part)


def _failed(url, code):
    # ErrorCode_ConnectionRefused: connection refused
    name = type(code).__name__.removeprefix("ErrorCode_")
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()
    if words == "http request denied":
        words = "not granted; the agent's log says which grant would allow it"
    return HttpError(f"{url}: {words}")
