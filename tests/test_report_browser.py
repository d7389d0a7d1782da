"""The report page of every study in a headless Chromium."""

import re
import shutil

import browser_pages
import pytest
import test_damage
import tiny

from jaxlth import store, studies

CHARTS = {  # of each study besides training and layers, which all have
    "dynamic": ["Test accuracy by density", "Test accuracy by cost"],
    "imp": ["Test accuracy by density"],
    "instability": ["Error barrier by step", "Error on the lines between twins"],
    "prune-early": ["Test accuracy by density"],
    "separation": ["Test accuracy of tasks by level", "Weights of each category by level"],
    "threshold-masks": ["Accuracy of masked, untrained networks", "Size of masks"],
    "train-supermasks": ["Test accuracy by density"],
}
SHARED = ["Test accuracy in training", "Train loss in training", "Density of layers"]
LONGER = {"separation": {"--epochs": "20"}}  # more than the 5 after which it is evaluated
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser_pages.CHROMIUM is None, reason=browser_pages.NONE),
]


@pytest.fixture(scope="module")
def driver():
    """The driver of the browser."""
    with browser_pages.browser() as playwright:
        yield playwright


@pytest.fixture(scope="module", params=sorted(studies.STUDIES))
def run(request, tmp_path_factory):
    """The folder of a small run of each study."""
    out = tmp_path_factory.mktemp(request.param)
    words = [*test_damage.SHARED.split(), *test_damage.JOBS[request.param].split()]
    for option, value in LONGER.get(request.param, {}).items():
        words[words.index(option) + 1] = value
    tiny.printed(request.param, *words, "--evaluate-every", "5", "--out", out)
    return tiny.only_run(out).path


@pytest.fixture(scope="module")
def report(run):
    """The page of a small run of each study."""
    return studies.open(run).report(run.parent / "report.html")


@pytest.fixture(scope="module")
def two(run, tmp_path_factory):
    """The page of two runs of each study, laid over each other."""
    again = tmp_path_factory.mktemp("again") / "again"
    shutil.copytree(run, again)
    return studies.open(run).report(run.parent / "two.html", others=[studies.open(again)])


@pytest.fixture(scope="module")
def imp(tmp_path_factory):
    """The page of two small runs of IMP with controls, laid over each other."""
    out = tmp_path_factory.mktemp("imp")
    words = [*tiny.COMMAND, "random", "--evaluate-every", "5", "--levels", "3", "--replicates", "2"]
    runs = []
    for step in ("0", "5"):
        tiny.printed(*words, "--rewind-step", step, "--out", out / step)
        runs.append(studies.open(tiny.only_run(out / step).path))
    return runs[0].report(out / "report.html", others=runs[1:])


@pytest.fixture(scope="module")
def wide(driver, imp):
    """The page of IMP in a browser, light and 1600 pixels wide, and what that complains of."""
    with browser_pages.opened(driver, imp) as (page, complaints):
        yield page, complaints


def paths(page, chart=0):
    """Return how many lines and points a chart draws."""
    layer = page.locator(".chart").nth(chart).locator(".scatterlayer")
    return layer.locator("path.js-line").count() + layer.locator(".points path").count()


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1600, "light")])
def test_the_page_of_every_study_is_drawn_without_a_complaint(driver, report, width, scheme):
    with browser_pages.opened(driver, report, width=width, scheme=scheme) as (page, complaints):
        count = page.locator(".chart").count()
        assert count >= 3
        for chart in range(count):
            assert paths(page, chart) > 0
            box = page.locator(".chart").nth(chart).bounding_box()
            assert 250 < box["width"] <= width
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        names = page.locator(".chart").evaluate_all("all => all.map(e => e.ariaLabel)")
        assert all(re.fullmatch(r".+ by .+: .+\.", name) for name in names)
        assert page.locator(".chart[role=img]").count() == count
        assert complaints == []


def test_the_page_of_every_study_has_its_charts(run, report):
    titles = [each["aria-label"] for each in browser_pages.read(report).of("div", role="group")]
    expected = [*CHARTS[store.about_run(run)["job"]], *SHARED]
    assert titles == [f"Lines of: {title}" for title in expected]


def test_two_runs_of_every_study_are_laid_over_each_other(driver, run, report, two):
    one, both = browser_pages.read(report), browser_pages.read(two)
    assert len(both.charts) == len(one.charts)
    for chart, laid_over in zip(one.charts, both.charts, strict=True):
        names = [line["name"] for line in chart["lines"]]
        expected = [f"{name}: {line}" for name in ("run 1", "run 2") for line in names]
        assert [line["name"] for line in laid_over["lines"]] == expected
    with browser_pages.opened(driver, two) as (page, complaints):
        assert page.locator(".results").count() == 2
        assert complaints == []


def test_every_column_of_every_study_sorts(driver, report):
    with browser_pages.opened(driver, report) as (page, complaints):
        table = page.locator(".results").first
        rows = sorted(table.locator("tbody tr").all_inner_texts())
        heads = table.locator("thead th[aria-sort]")
        assert heads.count() > 1
        for place in range(heads.count()):
            head = heads.nth(place)
            head.locator("button").click()
            assert head.get_attribute("aria-sort") == "ascending"
            assert sorted(table.locator("tbody tr").all_inner_texts()) == rows
            texts = table.locator(f"tbody tr > :nth-child({place + 1})").all_inner_texts()
            cells = [text.strip().replace(",", "") for text in texts]
            there = [cell for cell in cells if cell not in ("", "-")]
            assert cells[: len(there)] == there  # missing values come last
            numbers = [re.match(r"-?\d+\.?\d*(e-?\d+)?", cell) for cell in there]
            if all(numbers):
                values = [float(number[0]) for number in numbers]
                assert values == sorted(values)
        assert complaints == []


def test_a_complaint_would_be_noticed(driver, imp, tmp_path):
    text = imp.read_text().replace("drawAll().then(", "console.error('no'); drawAll().then(", 1)
    text = text.replace("</header>", '<img src="missing.png" alt=""></header>', 1)
    broken = tmp_path / "broken.html"
    broken.write_text(text)
    with browser_pages.opened(driver, broken) as (_, complaints):
        assert "no" in complaints
        assert any("missing.png" in each for each in complaints)


def test_the_legend_hides_and_shows_lines(wide):
    page, complaints = wide
    before = paths(page)
    button = page.locator(".legend").first.get_by_role("button", name="rewind_step 0: random")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert paths(page) < before
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    assert paths(page) == before
    button.dblclick()
    pressed = page.locator(".legend").first.locator("[aria-pressed=true]")
    assert pressed.all_inner_texts() == ["rewind_step 0: random"]
    button.dblclick()
    assert paths(page) == before
    assert complaints == []


def test_the_pointer_is_told_what_a_point_is(wide):
    page, _ = wide
    point = page.locator(".chart").first.locator(".points path").nth(1)
    box = point.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    told = page.locator(".chart").first.locator(".hoverlayer .hovertext")
    told.wait_for()
    assert "% of the weights" in told.text_content()
    assert "level 1" in told.text_content()


def column(page, place):
    cells = page.locator(".results").first.locator(f"tbody tr > :nth-child({place})")
    return [float(re.match(r"[\d.]+", text)[0]) for text in cells.all_inner_texts()]


def test_a_click_on_a_head_sorts_and_so_does_the_keyboard(wide):
    page, complaints = wide
    heads = page.locator(".results").first.locator("thead th")
    assert column(page, 2) == sorted(column(page, 2), reverse=True)
    heads.nth(1).locator("button").click()
    assert heads.nth(1).get_attribute("aria-sort") == "ascending"
    assert column(page, 2) == sorted(column(page, 2))
    heads.nth(1).locator("button").focus()
    page.keyboard.press("Space")
    assert heads.nth(1).get_attribute("aria-sort") == "descending"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert heads.nth(0).get_attribute("aria-sort") == "ascending"
    assert heads.nth(1).get_attribute("aria-sort") == "none"
    assert column(page, 1) == [0, 1, 2, 3]
    random = heads.filter(has_text="random").locator("button")
    for order in ("ascending", "descending"):
        random.click()  # the dense network has no random mask: it stays last
        cells = page.locator(".results").first.locator("tbody tr")
        assert cells.last.inner_text().strip().endswith("-"), order
    assert complaints == []


def test_the_page_and_its_charts_turn_dark_and_light(driver, imp):
    with browser_pages.opened(driver, imp, width=800, scheme="dark") as (page, complaints):
        looks = []
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(300)
            looks.append(
                page.evaluate(
                    """() => [
                      getComputedStyle(document.body).backgroundColor,
                      getComputedStyle(document.querySelector(".xtick text")).fill,
                      getComputedStyle(document.querySelector(".hoverlayer")).display,
                      document.querySelector(".legend path").getAttribute("stroke"),
                    ]"""
                )
            )
        (dark, dark_text, _, dark_line), (light, light_text, _, light_line) = looks
        assert (dark, light) == ("rgb(20, 24, 29)", "rgb(255, 255, 255)")
        assert (dark_text, light_text) == ("rgb(228, 232, 236)", "rgb(27, 31, 36)")
        assert (dark_line, light_line) != (light_line, light_line)
        lines = page.locator(".chart .js-line").evaluate_all("all => all.map(e => e.style.stroke)")
        assert "rgb(0, 114, 178)" in lines  # tickets, as in the figures
        assert complaints == []


def test_many_lines_wait_behind_a_summary(wide):
    page, _ = wide
    details = page.locator(".legend details").first
    text = details.locator("summary").inner_text()
    assert re.fullmatch(r"\d+ more lines", text)
    assert details.locator("button").count() == int(text.split()[0])
    details.locator("summary").click()
    line = details.locator("button").first
    assert line.is_visible()
    line.click()
    assert line.get_attribute("aria-pressed") == "true"
