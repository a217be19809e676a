"""Entity tags that clients send back: compared with ours, also behind a proxy that compresses.

Such a proxy marks the tag of an answer, since the bytes are others: by a suffix (`"v1-gzip"` of Apache, Caddy and
lighttpd, `"v1;gzip"` of older Apaches, `"v1--gzip"` of Jetty), or by making it weak (`W/"v1"` of nginx and most
others). Few take the mark away again. A tag here names the state of a task or of a list, whatever its encoding, so the
marked tag still names it. Source: docs/protocol.md, Tasks.
"""

import re
from collections.abc import Iterable

from falcon.util import ETag

ANY = "*"

_PROXY_SUFFIXES = re.compile(r"(?:(?:--?|;)(?:br|compress|deflate|gzip|x-gzip|zstd))+$")


def unmarked(tags: Iterable[ETag | str] | None) -> set[str]:
    """Return the tags of `If-Match` or `If-None-Match` as the service gave them, ANY among them when it is there."""
    return {_PROXY_SUFFIXES.sub("", str(tag)) for tag in tags or ()}
