"""The page of a registry in a real browser: it works on a phone, by keyboard and without a server, and runs nothing foreign."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from modxfer.registry.site.build import build, render
from tests.registry.site.browsing import DESKTOP, PHONE, Browser, serving
from tests.registry.site.hostile import PAYLOADS, hostile_content
from tests.registry.site.sample import make_sample

pytestmark = pytest.mark.browser

LARGE = "language-technology/ner-wikineural-multilingual-large"
BASE = "language-technology/ner-wikineural-multilingual-base"
STUDENT = "language-technology/ner-wikineural-student"
PAGES = (
    "index.html",
    f"modules/{LARGE}.html",
    "modules/older/sst-houlsby.html",
    "alignments/language-technology/large-to-base.html",
)

NAMED = frozenset(
    ["button", "combobox", "complementary", "form", "group", "link", "region", "search", "searchbox", "table", "textbox"]
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Start the browser once."""
    started = Browser.start(tmp_path_factory.mktemp("profile"))
    yield started
    started.driver.quit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sample once."""
    root = tmp_path_factory.mktemp("sample")
    return build(make_sample(root / "registry"), root / "site").output


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    """Serve the sample."""
    with serving(folder) as address:
        yield address


@pytest.fixture
def page(browser: Browser, server: str) -> Iterator[Browser]:
    """Open the first page; in the end the console must be empty, and nothing may have been asked of anybody else."""
    browser.complaints(), browser.requests()
    browser.look()
    browser.open(f"{server}index.html")
    yield browser
    assert browser.complaints() == []
    assert [address for address in browser.requests() if not address.startswith(server)] == []


# --- Search, filters, sorting --------------------------------------------------------------------------------------------


def test_search_narrows_both_tables(page: Browser) -> None:
    """Every word must be somewhere in the row, in any case and without its accents; what is left is counted aloud."""
    assert page.find("#shown").text == "Shown: 8 of 8 modules, 2 of 2 alignment maps."
    page.find("#q").send_keys("MULLER nine")
    assert page.titles() == [LARGE]
    assert page.titles("alignments") == []
    assert page.find("#shown").text == "Shown: 1 of 8 modules, 0 of 2 alignment maps."
    assert page.find("#shown").get_attribute("role") == "status"
    page.find("#q").send_keys(" nothing like it")
    assert page.titles() == []
    assert [note.text for note in page.find_all(".none")] == ["No module matches.", "No alignment map matches."]


def test_filters_narrow_together(page: Browser) -> None:
    """Filters and search hold at once; a filter that maps do not have leaves no map; clearing brings all back."""
    page.find("#filter-base").send_keys("research-group/multilingual-bert-base")
    assert page.titles() == [BASE, "acme/ner-german", "acme/sentiment-pfeiffer"]
    assert page.titles("alignments") == ["language-technology/base-to-student", "language-technology/large-to-base"]
    page.find("#filter-language").send_keys("de")
    assert page.titles() == [BASE, "acme/ner-german"]
    assert page.titles("alignments") == []
    page.find("#q").send_keys("german")
    assert page.titles() == ["acme/ner-german"]
    page.find("#clear").click()
    page.run("return new Promise(done => setTimeout(done))")
    assert len(page.titles()) == 8
    assert page.focused == "q"
    assert not page.find("#clear").is_displayed()


@pytest.mark.parametrize(
    ("name", "value", "left"),
    [
        ("task", "fill-mask", ["acme/language-modelling-prefix"]),
        ("method", "ia3", ["acme/paraphrase-ia3"]),
        ("license", "MIT", ["acme/sentiment-pfeiffer"]),
        ("format", "adapters", ["acme/sentiment-pfeiffer", "older/sst-houlsby"]),
        ("tag", "small", [STUDENT]),
    ],
)
def test_each_filter_shows_what_it_names(page: Browser, server: str, name: str, value: str, left: list[str]) -> None:
    """The values of each filter are the entries' own, and a link can carry them."""
    page.open(f"{server}index.html#{name}={value}")
    assert page.titles() == left
    assert page.find(f"#filter-{name}").get_attribute("value") == value


def test_headings_sort(page: Browser) -> None:
    """Pressing a heading sorts by it and again turns it round; numbers begin with the largest, rows without one come last."""
    assert page.find("[data-key=title]").get_attribute("aria-sort") == "ascending"
    result = page.find("[data-key=result]")
    result.find_element("css selector", "button").click()
    assert result.get_attribute("aria-sort") == "descending"
    assert page.find("[data-key=title]").get_attribute("aria-sort") is None
    assert page.titles()[0] == "acme/language-modelling-prefix"
    assert page.titles()[-1] == "older/sst-houlsby"
    result.find_element("css selector", "button").click()
    assert result.get_attribute("aria-sort") == "ascending"
    assert page.titles()[0] == "acme/paraphrase-ia3"
    assert page.titles()[-1] == "older/sst-houlsby"
    assert page.find("#announce").get_attribute("textContent") == "Sorted by Result, ascending."
    assert page.find("[data-name=alignments] [data-key=title]").get_attribute("aria-sort") == "ascending"


def test_address_keeps_what_is_shown(page: Browser, server: str) -> None:
    """The address says search, filters and order, so that it can be sent; a new one is obeyed, a senseless one does no harm."""
    page.find("#q").send_keys("nine & more")
    page.find("#q").clear()
    page.find("#q").send_keys("named")
    page.find("#filter-license").send_keys("Apache-2.0")
    page.find("[data-key=base] button").click()
    page.find("[data-key=base] button").click()
    address = page.driver.current_url
    assert address == f"{server}index.html#q=named&license=Apache-2.0&sort-modules=-base"
    shown = page.titles()
    assert shown == [LARGE, BASE, STUDENT]
    page.open(address)
    assert page.titles() == shown
    page.run("location.hash = '#tag=news&q=%F0%9F&sort-modules=-nothing&base=unknown&__proto__=1'")
    page.run("return new Promise(done => setTimeout(done, 50))")
    assert page.find("#filter-license").get_attribute("value") == ""
    page.run("location.hash = ''")
    page.run("return new Promise(done => setTimeout(done, 50))")
    assert len(page.titles()) == 8


def test_values_on_a_page_lead_to_the_table(page: Browser, server: str) -> None:
    """A language on an entry's page is a link to all entries of it."""
    page.open(f"{server}modules/{LARGE}.html")
    page.find("a[href$='#language=de']").click()
    assert page.titles() == [LARGE, BASE, "acme/ner-german", STUDENT]


# --- Keyboard ------------------------------------------------------------------------------------------------------------


def test_everything_works_by_keyboard(page: Browser) -> None:
    """Tab reaches the skip link first, / the search; filters, headings and links follow in order, each with a visible focus."""
    page.press(Keys.TAB)
    assert page.focused == "Skip to the content"
    assert page.run("return document.activeElement.getBoundingClientRect().top") >= 0
    page.press(Keys.ENTER)
    page.press("/")
    assert page.focused == "q"
    page.press("/")
    assert page.find("#q").get_attribute("value") == "/"
    page.press(Keys.BACKSPACE)
    seen = []
    for _ in range(17):
        page.press(Keys.TAB)
        assert page.run("return getComputedStyle(document.activeElement).outlineStyle") != "none", page.focused
        seen.append(page.focused)
    filters = [f"filter-{name}" for name in ("base", "task", "method", "language", "license", "format", "tag")]
    headings = ["Module", "Base model", "Method", "Task", "Languages", "Licence", "Format", "Result"]
    first = page.find("[data-name=modules] tbody a").text
    assert seen[:17] == [*filters, *headings, first, page.find_all("[data-name=modules] tbody a")[1].text]


def test_keyboard_filters_sorts_and_opens(page: Browser) -> None:
    """A filter is chosen, a table sorted and a page opened without a mouse."""
    page.press("/", Keys.TAB, Keys.TAB, "text")
    assert page.titles() == ["acme/sentiment-pfeiffer", "older/sst-houlsby"]
    page.press(*[Keys.TAB] * 6, Keys.TAB, Keys.ENTER)
    assert page.focused == "Module"
    assert page.find("[data-key=title]").get_attribute("aria-sort") == "descending"
    assert page.titles() == ["older/sst-houlsby", "acme/sentiment-pfeiffer"]
    page.press(*[Keys.TAB] * 8, Keys.ENTER)
    assert page.find("h1").text == "SST-2, Houlsby adapter of an older registry"


def test_lineage_is_walked_by_keyboard(page: Browser, server: str) -> None:
    """The boxes of a lineage are links that can be reached and followed."""
    page.open(f"{server}modules/{STUDENT}.html")
    page.run("document.querySelector('.lineage a').focus()")
    assert page.run("return getComputedStyle(document.querySelector('.lineage a:focus-visible rect')).strokeWidth") == "3px"
    page.press(Keys.ENTER)
    assert page.find("h1").text.startswith("Named entities in nine languages, LoRA")


def test_commands_are_copied(page: Browser, server: str) -> None:
    """The button copies the command as it must be typed, and says so."""
    page.open(f"{server}modules/{LARGE}.html")
    page.driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
    button = page.find_all(".copy")[1]
    assert button.get_attribute("aria-label") == "Copy: Convert it to research-group/multilingual-bert-base-cased"
    button.click()
    copied = page.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied == f"modxfer convert registry:{LARGE} --to research-group/multilingual-bert-base-cased"
    assert button.text == "Copied"
    assert page.find("#announce").get_attribute("textContent") == "Copied."


# --- What it looks like --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [320, PHONE, 768, DESKTOP])
def test_pages_never_scroll_sideways(page: Browser, server: str, width: int) -> None:
    """At every width a page fits, whatever is in it; what is wider scrolls in a box of its own."""
    page.look(width=width)
    for path in PAGES:
        page.open(f"{server}{path}")
        assert page.run("return document.documentElement.scrollWidth") <= width, (
            path
        )  # a phone's innerWidth grows with the page
        wide = f"[...document.querySelectorAll('main *')].filter(one => one.getBoundingClientRect().right > {width + 1}"
        assert page.run(f"return {wide} && !one.closest('.scroll')).map(one => one.outerHTML.slice(0, 80))") == [], (
            path,
            width,
        )


def test_rows_become_cards_on_a_phone(page: Browser, server: str) -> None:
    """On a phone a row's cells stand below each other with their labels; a screen reader still finds the cells of a table."""
    page.look(width=PHONE)
    page.open(f"{server}index.html")
    cells = page.find_all("[data-name=modules] tbody tr:first-child td")
    assert len({cell.location["x"] for cell in cells[1:]}) == 1
    tops = [cell.location["y"] for cell in cells]
    assert tops == sorted(set(tops))
    labels = [page.run("return getComputedStyle(arguments[0], '::before').content", cell) for cell in cells[1:]]
    assert labels == ['"Base model"', '"Method"', '"Task"', '"Languages"', '"Licence"', '"Format"', '"Result"']
    roles = [_role(node) for node in _accessibility(page)]
    assert {"table", "row", "cell", "columnheader"} <= set(roles)
    assert roles.count("cell") == 8 * 8 + 2 * 7
    assert not page.find("#filter-base").is_displayed()
    page.find("summary").click()
    assert page.find("#filter-base").is_displayed()


def test_everything_has_a_name(page: Browser, server: str) -> None:
    """A screen reader has a name for every link, control, drawing and landmark."""
    for path in PAGES:
        page.open(f"{server}{path}")
        nodes = _accessibility(page)
        nameless = [_role(node) for node in nodes if _role(node) in NAMED and not node.get("name", {}).get("value")]
        assert nameless == [], path
        roles = {_role(node) for node in nodes}
        assert {"banner", "main", "contentinfo"} <= roles, path


def _role(node: dict[str, dict[str, str]]) -> str:
    return node["role"]["value"]


def _accessibility(page: Browser) -> list[dict[str, dict[str, str]]]:
    nodes = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    return [node for node in nodes if not node["ignored"]]


CONTRAST = """
const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
const rgba = (color) => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const ground = (element) => {
  if (element instanceof SVGElement && element.closest(".box")) {
    const fill = rgba(getComputedStyle(element.closest(".box").querySelector("rect")).fill);
    if (fill[3] === 255) return fill;
  }
  for (let one = element; one; one = one.parentElement) {
    const color = rgba(getComputedStyle(one).backgroundColor);
    if (color[3] === 255) return color;
  }
  return [255, 255, 255, 255];
};
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const written = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!written || !element.checkVisibility() || element.closest(".unseen, title")) continue;
  const style = getComputedStyle(element);
  const [one, other] = [rgba(element instanceof SVGElement ? style.fill : style.color), ground(element)].map(light);
  const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  found.push([ratio, `${element.tagName}.${element.getAttribute("class")}: ${element.textContent.trim().slice(0, 30)}`]);
}
return found;
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_has_contrast(page: Browser, server: str, dark: bool) -> None:
    """Every text stands out from what is behind it by at least 4.5 to 1, in both colour schemes."""
    page.look(dark=dark)
    backgrounds = set()
    for path in PAGES:
        page.open(f"{server}{path}")
        backgrounds.add(page.run("return getComputedStyle(document.body).backgroundColor"))
        measured = page.run(CONTRAST)
        assert len(measured) > 30
        assert [item for item in measured if item[0] < 4.5] == [], path
    assert backgrounds == {"rgb(16, 19, 26)" if dark else "rgb(246, 247, 250)"}


def test_nothing_moves_where_that_is_not_wanted(page: Browser) -> None:
    """Whoever asks for reduced motion sees none."""
    durations = "return [...new Set([...document.querySelectorAll('*')].map(one => getComputedStyle(one).transitionDuration))]"
    assert "0.12s" in str(page.run(durations))
    page.look(motion=False)
    assert page.run(durations) == ["0s"]


# --- Without a server, without JavaScript, with hostile entries ----------------------------------------------------------


def test_page_works_without_a_server(browser: Browser, folder: Path) -> None:
    """Opened as a file, the page searches, sorts, keeps its address and leads on; nothing is asked over the network."""
    browser.look()
    browser.complaints(), browser.requests()
    browser.open((folder / "index.html").as_uri() + "#tag=ner")
    assert browser.titles() == [LARGE, BASE, STUDENT]
    browser.find("#q").send_keys("student")
    browser.find("[data-key=base] button").click()
    assert browser.titles() == [STUDENT]
    assert browser.driver.current_url.endswith("#q=student&tag=ner&sort-modules=base")
    browser.find("[data-name=modules] tbody tr:not([hidden]) a").click()
    assert browser.find("h1").text == "Named entities, transferred to the student"
    assert browser.complaints() == []
    assert [address for address in browser.requests() if not address.startswith("file:")] == []


def test_page_is_whole_without_javascript(browser: Browser, server: str) -> None:
    """Without JavaScript every entry can be read and opened, and there are no controls that do nothing."""
    browser.look(javascript=False)
    try:
        browser.open(f"{server}index.html")
        assert len(browser.titles()) == 8
        assert len(browser.titles("alignments")) == 2
        assert [one for one in browser.find_all("input, select, button") if one.is_displayed()] == []
        browser.open(f"{server}modules/{LARGE}.html")
        assert len(browser.find_all(".command pre")) == 5
        assert browser.find_all(".copy") == []
    finally:
        browser.look()


@pytest.fixture(scope="module")
def hostile_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a registry with a payload in every text of every entry, built past all checks."""
    folder = tmp_path_factory.mktemp("hostile")
    for path, text in render(hostile_content(*PAYLOADS)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    with serving(folder) as address:
        yield address


@pytest.fixture
def hostile(browser: Browser, hostile_server: str) -> Iterator[Browser]:
    """Watch what a hostile registry does: in the end nothing has run, been forbidden, or been asked of anybody else."""
    browser.look(width=PHONE)
    browser.complaints(), browser.requests()
    yield browser
    assert browser.run("return window.pwned") is None
    assert browser.complaints() == []
    assert [address for address in browser.requests() if not address.startswith(hostile_server)] == []


@pytest.mark.parametrize("number", range(len(PAYLOADS)))
def test_hostile_entries_run_nothing(hostile: Browser, hostile_server: str, number: int) -> None:
    """An entry's page has our one script and no other, no element that loads anything, and no link to elsewhere but the Hub."""
    for path in ("modules", "alignments"):
        hostile.open(f"{hostile_server}{path}/evil{number}/{'map' if path == 'alignments' else 'child'}.html")
        _check_harmless(hostile, hostile_server)


def test_hostile_archives_run_nothing(hostile: Browser, hostile_server: str) -> None:
    """Nor has the page of a module that lies in an archive."""
    hostile.open(f"{hostile_server}modules/evil0/archive.html")
    _check_harmless(hostile, hostile_server)


def test_hostile_tables_run_nothing(hostile: Browser, hostile_server: str) -> None:
    """Searching and filtering by hostile values, and reading them back from the address, finds the entries and runs nothing."""
    hostile.open(f"{hostile_server}index.html")
    _check_harmless(hostile, hostile_server)
    hostile.find("#q").send_keys("pwned")
    for number, payload in enumerate(PAYLOADS):
        hostile.run(
            "const choice = document.getElementById('filter-license'); choice.value = arguments[0];"
            "choice.dispatchEvent(new Event('change'))",
            payload,
        )
        shown = [f"evil{number}/{name}" for name in ("archive", "child", "orphan", "teacher")]
        assert sorted(hostile.titles()) == shown
        hostile.run("window.dispatchEvent(new HashChangeEvent('hashchange'))")
        assert sorted(hostile.titles()) == shown
    _check_harmless(hostile, hostile_server)


def _check_harmless(browser: Browser, server: str) -> None:
    assert browser.run("return window.pwned") is None
    assert browser.run("return document.querySelectorAll('script').length") == 1
    assert browser.run("return document.querySelectorAll('img, iframe, object, embed, style, [style], [onload]').length") == 0
    assert browser.run("return document.documentElement.scrollWidth") <= PHONE
    links = browser.run("return [...document.links].map(link => link.protocol + '//' + link.host + '/')")
    assert set(links) <= {server, "https://huggingface.co/"}
