"""The pages' files get names that tell their content; names that stay the same mean the same."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from tests.testkit.deadlines import stretched, until, within

from roots_devstack import assets
from roots_devstack.assets import AssetError, Assets
from roots_devstack.web import Web

PAGE = """<!doctype html>
<link rel="icon" href="/todos/icon.svg">
<a href="/todos/inspect">wire</a>
    <script type="module" src="/todos/page.js"></script>
"""
SOURCES = {
    "web/todos/index.html": PAGE,
    "web/todos/icon.svg": "<svg/>",
    "web/todos/page.js": 'import { poll } from "/todos/pomona/firenze.js";\nimport {\n  View,\n} from "./view.js";\n',
    "web/todos/view.js": '/** @import { Task } from "./page.js" */\nexport const from = "./nowhere.js";\n',
    "pomona/firenze.js": 'export { poll } from "./poller.js";\n',
    "pomona/poller.js": "export const poll = 1;\n",
}


def build(folder: Path, changes: dict[str, str] | None = None) -> dict[str, str]:
    """Write the sources and make the assets; return what was made, by its path."""
    for name, text in (SOURCES | (changes or {})).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    Assets(folder / "web", folder / "pomona", folder / "out").write()
    made = sorted((folder / "out").rglob("*.*"))
    return {str(path.relative_to(folder / "out")): path.read_text(encoding="utf-8") for path in made}


def named(made: dict[str, str], name: str) -> str:
    """Return the URL of the asset that was made of `name`."""
    stem, suffix = name.split(".")
    (found,) = [path for path in made if path.startswith(f"todos/assets/{stem}.") and path.endswith(suffix)]
    return f"/{found}"


def test_references_lead_to_hashed_names_when_assets_are_made(tmp_path: Path) -> None:
    """A page's files, and what its modules import; a link to another page and a type's import stay as they are."""
    made = build(tmp_path)

    page = made["todos/index.html"]
    assert f'href="{named(made, "icon.svg")}"' in page
    assert f'src="{named(made, "page.js")}"' in page
    assert 'href="/todos/inspect"' in page
    assert (
        f'import {{ poll }} from "{named(made, "firenze.js")}";\n'
        f'import {{\n  View,\n}} from "{named(made, "view.js")}";\n'
    ) == made[named(made, "page.js")[1:]]
    assert SOURCES["web/todos/view.js"] == made[named(made, "view.js")[1:]]


def test_page_names_every_module_when_it_is_made(tmp_path: Path) -> None:
    """A browser asks for all of them at once; a module that is imported twice is named once."""
    made = build(tmp_path)

    modules = [named(made, name) for name in ("firenze.js", "poller.js", "view.js")]
    links = "\n    ".join(f'<link rel="modulepreload" href="{url}">' for url in modules)
    assert f'    {links}\n    <script type="module"' in made["todos/index.html"]


def test_pomona_keeps_its_names_when_other_pages_import_it(tmp_path: Path) -> None:
    """Its README's address is a promise."""
    made = build(tmp_path)

    assert (SOURCES["pomona/firenze.js"], SOURCES["pomona/poller.js"]) == (
        made["todos/pomona/firenze.js"],
        made["todos/pomona/poller.js"],
    )


def test_names_change_when_content_does(tmp_path: Path) -> None:
    """A module that imports a changed one is another too; the rest is not, and what was there stays."""
    before = build(tmp_path / "before")
    after = build(tmp_path / "after", {"pomona/poller.js": "export const poll = 2;\n"})

    changed = {name for name in ("poller.js", "firenze.js", "page.js") if named(before, name) != named(after, name)}
    assert {"poller.js", "firenze.js", "page.js"} == changed
    assert named(before, "view.js") == named(after, "view.js")
    again = build(tmp_path / "before", {"pomona/poller.js": "export const poll = 2;\n"})
    assert {named(before, "poller.js")[1:], named(after, "poller.js")[1:]} <= again.keys()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("web/todos/view.js", 'import "./lost.js";\n', "view.js refers to ./lost.js, which is not there"),
        ("web/todos/view.js", 'import "./page.js";\n', "page.js imports itself, by way of"),
        ("web/todos/index.html", '<img src="/todos/lost.svg">', "index.html refers to /todos/lost.svg"),
    ],
)
def test_fault_is_told_when_a_reference_leads_nowhere(tmp_path: Path, name: str, text: str, message: str) -> None:
    """Before anything is served that would not work."""
    with pytest.raises(AssetError, match=message):
        build(tmp_path, {name: text})


def test_command_makes_the_assets_when_nothing_is_installed(tmp_path: Path) -> None:
    """The gateway's image is built by the file alone."""
    expected = build(tmp_path)
    folders = [str(tmp_path / name) for name in ("web", "pomona", "other")]

    done = subprocess.run([sys.executable, "-I", "-S", assets.__file__, *folders], check=False, timeout=stretched(30))

    assert 0 == done.returncode
    assert expected.keys() == {str(p.relative_to(folders[2])) for p in Path(folders[2]).rglob("*.*")}


async def test_page_is_written_again_when_a_source_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever works on it reloads; a fault on the way is told, and mended by the next change."""
    build(tmp_path)
    monkeypatch.setattr("roots_devstack.web.INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(
        "roots_devstack.web.checkout_path", lambda name: tmp_path / name.replace("clients/pomona/src", "pomona")
    )
    told: asyncio.Queue[str] = asyncio.Queue()
    web = Web(tmp_path / "home", sink=lambda _name, line: told.put_nowait(line))
    web.start()
    source, made = tmp_path / "web/todos/index.html", web.folder / "todos/index.html"
    try:
        source.write_text('<img src="/todos/lost.svg">', encoding="utf-8")
        async with within(10):
            assert "lost.svg, which is not there" in await told.get()
        source.write_text("<p>new</p>", encoding="utf-8")
        await until(lambda: made.read_text(encoding="utf-8") == "<p>new</p>")
    finally:
        await web.stop()
