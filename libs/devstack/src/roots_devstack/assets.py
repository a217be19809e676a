"""Makes what the task service serves under /todos: the pages, and their files under names with a digest of the content.

Owns nothing but its output folder:

    todos/*.html            the pages, requested again each time
    todos/assets/*          their scripts, styles and pictures; a name never changes its content, so it is kept for ever
    todos/pomona/*.js       Pomona under the names that its README gives, for other pages

Promises: a page's modules are all named in it, so that they come at once and not one import after the other. What is
written under a name stays there, so a page that was loaded before the last change still works.
May import: the standard library only, since the task service's image is built by this file alone:

    python assets.py WEB POMONA OUT      the folders web, clients/pomona/src, and the output
"""

import hashlib
import re
import sys
from pathlib import Path

PAGES_URL = "/todos/"
POMONA_URL = "/todos/pomona/"
ASSETS_URL = "/todos/assets/"

_DIGEST_CHARACTERS = 12
# Types in comments are imported too, in a comment's own syntax: those begin no line.
_IMPORT = re.compile(r"""^(?:import|export)\s+(?:[\w*\s{},]+?\sfrom\s+)?["'](?P<url>[^"']+)["']""", re.MULTILINE)
_REFERENCE = re.compile(r'\b(?:href|src)="(?P<url>/todos/[^"]+\.\w+)"')
_MODULE = re.compile(r'<script type="module" src="(?P<url>[^"]+)"></script>')


class AssetError(Exception):
    """A page or a module refers to what is not there."""


class Assets:
    """The files under their new names, each made when the first one that refers to it is."""

    def __init__(self, web: Path, pomona: Path, out: Path) -> None:
        self._pages = web / "todos"
        self._pomona = pomona
        self._out = out
        self._urls: dict[Path, str] = {}
        self._modules: dict[str, list[str]] = {}
        self._under_way: list[Path] = []

    def write(self) -> None:
        """Write everything, the pages last: what they refer to is there by then. Errors: AssetError, OSError."""
        for source in sorted(self._pomona.glob("*.js")):
            self._put(POMONA_URL + source.name, source.read_bytes())
        pages = {source: self._page(source) for source in sorted(self._pages.glob("*.html"))}
        for source, page in pages.items():
            self._put(PAGES_URL + source.name, page.encode())

    def _page(self, source: Path) -> str:
        text = source.read_text(encoding="utf-8")
        text = self._replaced(_REFERENCE, text, source)
        return _MODULE.sub(self._with_preloads, text)

    def _with_preloads(self, script: re.Match[str]) -> str:
        links = [f'<link rel="modulepreload" href="{url}">' for url in self._all_modules(script["url"])]
        return "\n    ".join([*links, script[0]])

    def _all_modules(self, url: str) -> list[str]:
        """Return the modules that the module `url` imports, directly or not, each once."""
        found: dict[str, None] = {}
        for imported in self._modules[url]:
            found |= dict.fromkeys([imported, *self._all_modules(imported)])
        return list(found)

    def _url(self, source: Path) -> str:
        """Return the file's URL, after writing it there. Errors: AssetError."""
        if source not in self._urls:
            if source in self._under_way:
                raise AssetError(f"{source} imports itself, by way of {self._under_way[-1]}")
            self._under_way.append(source)
            content = self._content(source)
            digest = hashlib.sha256(content).hexdigest()[:_DIGEST_CHARACTERS]
            url = f"{ASSETS_URL}{source.stem}.{digest}{source.suffix}"
            self._put(url, content)
            self._urls[source] = url
            self._under_way.pop()
            if source.suffix == ".js":
                imports = _IMPORT.finditer(content.decode())
                self._modules[url] = [found["url"] for found in imports]
        return self._urls[source]

    def _content(self, source: Path) -> bytes:
        """Return what is in the file, with the imports that a module has under their new names."""
        if source.suffix != ".js":
            return source.read_bytes()
        return self._replaced(_IMPORT, source.read_text(encoding="utf-8"), source).encode()

    def _replaced(self, pattern: re.Pattern[str], text: str, source: Path) -> str:
        def replace(found: re.Match[str]) -> str:
            start, end = (index - found.start() for index in found.span("url"))
            return found[0][:start] + self._url(self._find(found["url"], source)) + found[0][end:]

        return pattern.sub(replace, text)

    def _find(self, url: str, referrer: Path) -> Path:
        """Return the file that `url` means in `referrer`. Errors: AssetError."""
        if url.startswith(POMONA_URL):
            path = self._pomona / url.removeprefix(POMONA_URL)
        elif url.startswith(PAGES_URL):
            path = self._pages / url.removeprefix(PAGES_URL)
        else:
            path = referrer.parent / url
        if not path.is_file():
            raise AssetError(f"{referrer} refers to {url}, which is not there")
        return path.resolve()

    def _put(self, url: str, content: bytes) -> None:
        path = self._out / url.removeprefix("/")
        if path.is_file() and path.read_bytes() == content:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        # In one step: the service serves the old one or the new one, never a part.
        unfinished = path.with_name(f".{path.name}.new")
        unfinished.write_bytes(content)
        unfinished.replace(path)


def main() -> None:
    """Write the assets that the command line asks for."""
    if len(sys.argv) != len(("program", "WEB", "POMONA", "OUT")):
        sys.exit("usage: python assets.py WEB POMONA OUT")
    web, pomona, out = (Path(argument) for argument in sys.argv[1:])
    try:
        Assets(web, pomona, out).write()
    except AssetError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
