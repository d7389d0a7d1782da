"""The documentation site: it builds strictly and without network, and its reference is complete."""

import dataclasses
import html.parser
import importlib
import pathlib
import re
import subprocess
import sys
import urllib.parse

import browser_pages
import pandas
import public_names
import pytest
from sphinx.util.inventory import InventoryFile

import jaxlth
from jaxlth import masks, prune
from jaxlth.data import DataConfig, StreamConfig
from jaxlth.models import ModelConfig
from jaxlth.studies.field_docs import field_docs
from jaxlth.supermasks import SupermaskConfig
from jaxlth.training import OptimizerConfig, TrainingConfig

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs"
MODULES = [module for modules in public_names.PAGES.values() for module in modules]
CONFIGS = {
    **public_names.configs(),
    "jaxlth.data.DataConfig": DataConfig,
    "jaxlth.data.StreamConfig": StreamConfig,
    "jaxlth.models.ModelConfig": ModelConfig,
    "jaxlth.supermasks.SupermaskConfig": SupermaskConfig,
    "jaxlth.training.OptimizerConfig": OptimizerConfig,
    "jaxlth.training.TrainingConfig": TrainingConfig,
}
LARGEST = 40_000_000  # bytes of the site
BUILD = """
import socket, sys
from sphinx.cmd.build import main

def refuse(*args):
    raise OSError("the site is built without network")

socket.socket.connect = socket.getaddrinfo = refuse
sys.exit(main(sys.argv[1:]))
"""


class Links(html.parser.HTMLParser):
    """What a page links to, what it loads, and the places in it that have a name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.places |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        elif tag in ("img", "script", "source", "iframe") and found.get("src"):
            self.loaded.append(found["src"])
        elif tag == "link" and found.get("rel") in ("stylesheet", "icon", "preload"):
            self.loaded.append(found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("site") / "html"
    doctrees = out.with_name("doctrees")
    options = ["-W", "--keep-going", "-q", "-d", str(doctrees), str(DOCS), str(out)]
    done = subprocess.run(
        [sys.executable, "-c", BUILD, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def entries(site) -> set[str]:
    """The names that have an entry in the reference."""
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    return {
        name for kind, names in inventory.data.items() if kind.startswith("py:") for name in names
    }


@pytest.fixture(scope="module")
def pages(site) -> dict[pathlib.Path, Links]:
    return {path.resolve(): Links(path.read_text()) for path in site.rglob("*.html")}


@pytest.mark.slow
def test_every_page_is_built(site):
    sources = [path for kind in ("md", "rst", "ipynb") for path in DOCS.rglob(f"*.{kind}")]
    assert len(sources) > 15
    built = [site / path.relative_to(DOCS).with_suffix(".html") for path in sources]
    assert [path for path in built if not path.exists()] == []


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_an_entry(module, entries):
    names = public_names.public_names(importlib.import_module(module))
    assert names
    assert [name for name in names if f"{module}.{name}" not in entries] == []


@pytest.mark.slow
def test_every_name_of_the_library_on_a_page_exists_and_has_an_entry(entries):
    modules = "|".join(sorted({module.split(".")[1] for module in MODULES}))
    named = re.compile(rf"`(?:jaxlth\.)?((?:{modules})(?:\.\w+)+)[`(]")
    names = {name for page in DOCS.rglob("*.md") for name in named.findall(page.read_text())}
    names -= {"settings.toml"}  # a file
    assert len(names) > 40
    assert [name for name in sorted(names) if f"jaxlth.{name}" not in entries] == []


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS)
def test_every_field_of_a_config_has_an_entry(config, entries):
    names = [field.name for field in dataclasses.fields(CONFIGS[config])]
    assert [name for name in names if f"{config}.{name}" not in entries] == []


@pytest.mark.parametrize("config", CONFIGS)
def test_every_field_of_a_config_says_what_it_is(config):
    names = [field.name for field in dataclasses.fields(CONFIGS[config])]
    # `data`, `model` and the like are configs, which say it themselves.
    docs = field_docs(CONFIGS[config])
    parts = {"data", "model", "training", "optimizer", "stream", "supermask"}
    assert [name for name in names if name not in docs and name not in parts] == []


def test_a_comment_behind_a_field_is_its_text():
    source = "class A:\n    first: int\n"
    source += "    share: float = 0.3  # of the weights,\n    # at first\n    last: int  # step\n"
    texts = {field: public_names.field_text(source, field) for field in ("first", "share", "last")}
    assert texts == {"first": "", "share": "of the weights, at first", "last": "step"}


@pytest.mark.slow
def test_the_reference_says_what_the_fields_of_dataclasses_and_tuples_are(site):
    for page, where, text in (
        ("prune", "jaxlth.prune.Schedule.fraction", "of the kept weights that growth exchanges"),
        ("prune", "jaxlth.prune.Schedule.kind", "how the density falls"),
        ("studies", "jaxlth.studies.Ticket.mask", "True where a weight is kept"),
    ):
        html_page = (site / "reference" / f"{page}.html").read_text()
        assert text in html_page.partition(f'id="{where}"')[2].partition("</dd>")[0], where


def test_every_module_is_in_the_reference_or_internal():
    folder = pathlib.Path(jaxlth.__file__).parent
    modules = {path.stem for path in folder.iterdir() if not path.name.startswith("_")}
    modules -= {"py"}  # py.typed
    public = {module.split(".")[1] for module in MODULES}
    assert modules - public == public_names.INTERNAL
    assert set(jaxlth._MODULES) <= public


def test_every_page_of_the_reference_shows_its_modules():
    for page, modules in public_names.PAGES.items():
        text = (DOCS / "reference" / f"{page}.rst").read_text()
        shown = [line.split()[-1] for line in text.splitlines() if line.startswith(".. public")]
        assert shown == modules


@pytest.mark.slow
def test_no_page_links_to_what_is_missing(site, pages):
    missing = []
    for path, page in pages.items():
        for link in {*page.links, *page.loaded}:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve()
            target = path if not parts.path else target
            place = urllib.parse.unquote(parts.fragment)
            if not target.exists() or (
                place and target in pages and place not in pages[target].places
            ):
                missing.append(f"{path.relative_to(site.resolve())}: {link}")
    assert missing == []


@pytest.mark.slow
def test_pages_load_nothing_from_the_network(pages):
    loaded = {link for page in pages.values() for link in page.loaded}
    assert len(loaded) > 5
    assert [link for link in loaded if urllib.parse.urlsplit(link).netloc] == []


@pytest.mark.slow
@pytest.mark.skipif(browser_pages.CHROMIUM is None, reason=browser_pages.NONE)
@pytest.mark.parametrize("width", [400, 800, 1100, 1320, 1400, 1600])
def test_no_page_is_wider_than_the_window(site, width):
    names = ("index", "get_started", "comparison", "speed", "papers/frankle", "papers/lutz")
    with browser_pages.browser() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_pages.CHROMIUM, args=browser_pages.OPTIONS
        )
        page = browser.new_page(viewport={"width": width, "height": 900})
        wide = []
        for name in names:
            page.goto((site / f"{name}.html").as_uri(), timeout=browser_pages.PATIENCE)
            if page.evaluate("document.documentElement.scrollWidth") > width:
                wide.append(name)
        browser.close()
    assert wide == []


@pytest.mark.slow
def test_the_site_is_small(site):
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    print(f"the site has {size / 1e6:.1f} MB")
    assert 1_000_000 < size < LARGEST


def test_the_index_of_experiments_names_every_script_and_links_to_pages():
    index = (ROOT / "experiments" / "README.md").read_text()
    scripts = {path.name for path in (ROOT / "experiments").glob("*.py")}
    assert set(re.findall(r"`(\w+\.py)`", index)) == scripts
    links = re.findall(r"\]\((\S+?)\)", index)
    assert len(links) > 20
    assert [link for link in links if not (ROOT / "experiments" / link).exists()] == []


def test_lines_of_pages_are_short_but_for_tables_and_pictures():
    included = (ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", ROOT / "tpu" / "README.md")
    pages = [*DOCS.rglob("*.md"), *included, ROOT / "README.md", ROOT / "experiments" / "README.md"]
    lines = [line for page in pages for line in page.read_text().splitlines()]
    assert len(lines) > 2500
    long = [line.strip() for line in lines if len(line) > 120]
    assert [line for line in long if not line.startswith(("|", "!["))] == []


def test_links_and_what_pages_load_are_seen():
    page = Links('<p id="a"><a href="b.html#c"></a><img src="d.png"><link rel="icon" href="e">')
    assert (page.links, page.loaded, page.places) == (["b.html#c"], ["d.png", "e"], {"a"})


def test_public_names_are_those_of_all_or_those_that_a_module_defines():
    assert public_names.public_names(prune) == sorted(prune.__all__)
    names = public_names.public_names(masks)
    assert {"apply", "dense", "is_kernel", "IN_OUT", "Mask"} <= set(names)
    assert {"keys", "trees", "Callable", "_holds_connections"}.isdisjoint(names)


def test_constants_say_what_the_comment_behind_them_says():
    assert public_names.comment("jaxlth.scores", "SCORES") == "those of the weights alone"
    assert public_names.comment("jaxlth.plots.outcome_plots", "STAR") == ""


def test_commits_that_pages_name_are_in_the_history():
    """A number whose code cannot be found again is no evidence."""
    git = ["git", "-C", str(ROOT)]
    told = subprocess.run(
        [*git, "rev-parse", "--is-shallow-repository"], capture_output=True, text=True, check=False
    )
    if told.stdout.strip() != "false":
        pytest.skip("NO HISTORY: this copy of the project is no whole clone")
    named = {
        name
        for page in (DOCS / "papers").glob("*.md")
        for name in re.findall(
            r"\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{7}\b", page.read_text()
        )
    }
    named |= set(pandas.read_csv(ROOT / "experiments/results/speed/about.csv")["commit"])
    assert len(named) > 30
    history = subprocess.run(
        [*git, "rev-list", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert named <= {commit[:7] for commit in history}
