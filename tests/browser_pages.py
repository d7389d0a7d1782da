"""Report pages as the tests read them: without a browser, and in a headless Chromium.

`python tests/browser_pages.py PAGE.html PICTURE.png [WIDTH [light|dark]]` writes a picture of one.
"""

import contextlib
import html.parser
import json
import os
import pathlib
import shutil
import sys
import tempfile

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NONE = "NO BROWSER TESTS: there is no Chromium (`apt-get install chromium`)"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
OPTIONS += ["--disable-background-networking", "--disable-component-update"]
PATIENCE = 120_000  # milliseconds that a busy machine may take to draw a page
COLORS = 256  # of a committed picture
VOID = {"meta", "img", "br", "link"}


class Page(html.parser.HTMLParser):
    """What a page holds: its elements, the text within them, the data of its charts."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.elements, self.charts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tag, attributes = self.open[-1] if self.open else ("", {})
        if attributes.get("type") == "application/json":
            self.charts.append(json.loads(data))
        elif tag not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self):
        """All that is read, its blanks single."""
        return " ".join(" ".join(self.texts).split())

    def of(self, tag, **attributes):
        """Return the attributes of the elements of a tag that have these."""
        return [
            own for name, own in self.elements if name == tag and attributes.items() <= own.items()
        ]


def read(path):
    """Return the page in a file."""
    return Page(pathlib.Path(path).read_text())


def browser():
    """Return a context that gives the driver of the browser, one at a time."""
    from playwright.sync_api import sync_playwright

    return sync_playwright()


@contextlib.contextmanager
def opened(driver, path, *, width=1600, height=1000, scheme="light"):
    """Give a page in Chromium, drawn, and the list of all that the browser complains of."""
    with tempfile.TemporaryDirectory() as folder:
        context = driver.chromium.launch_persistent_context(
            folder,
            executable_path=CHROMIUM,
            headless=True,
            args=OPTIONS,
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            offline=True,
        )
        page, complaints = context.new_page(), []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: _is_own(request.url) or complaints.append(request.url))
        page.goto(pathlib.Path(path).resolve().as_uri())
        page.wait_for_selector("html[data-drawn]", timeout=PATIENCE)
        try:
            yield page, complaints
        finally:
            context.close()


def _is_own(url):
    return url.startswith(("file:", "data:", "blob:"))


def photograph(driver, path, picture, *, width=1600, scheme="light", height=None):
    """Write a picture of a page, of few colours: the whole of it, or its first pixels."""
    from PIL import Image

    with opened(driver, path, width=width, scheme=scheme) as (page, complaints):
        assert complaints == []
        clip = {"clip": {"x": 0, "y": 0, "width": width, "height": height}} if height else {}
        page.screenshot(path=picture, full_page=True, **clip)
    colors = Image.Quantize.MAXCOVERAGE  # it keeps the colours of thin lines
    with Image.open(picture) as image:
        image.convert("RGB").quantize(COLORS, method=colors, dither=Image.Dither.NONE).save(
            picture, optimize=True
        )


if __name__ == "__main__":
    source, target, *more = sys.argv[1:]
    sizes = {"width": int(more[0])} if more else {}
    schemes = {"scheme": more[1]} if len(more) > 1 else {}
    with browser() as chromium:
        photograph(chromium, source, target, **sizes, **schemes)
    print(target, os.path.getsize(target))
