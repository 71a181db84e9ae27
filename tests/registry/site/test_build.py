"""The page of a registry is whole, the same each time, and says nothing that an entry could make it say as markup."""

import itertools
import json
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from jinja2 import nodes

from modxfer.errors import EntryError, OutputError
from modxfer.registry.entries.models import ModuleEntry
from modxfer.registry.site.build import ASSETS, Built, build, render
from modxfer.registry.site.content import Content
from modxfer.registry.site.rendering import POLICY, address, human_size, templates
from tests.entries import alignment_entry, make_registry, module_entry, transferred_entry, whole_lineage
from tests.registry.site.hostile import PAYLOADS, hostile_content
from tests.registry.site.sample import make_sample

HOSTILE = [hostile_content(payload) for payload in PAYLOADS]
VOID = {"meta", "link", "input", "br", "hr", "img"}
SELF_CLOSED = {"rect", "line", "path"}


class Page(HTMLParser):
    """What a browser would make of a page, in rough: its elements with their attributes, and its texts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} has an attribute twice: {attrs}"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        """List the attributes of all elements of a tag."""
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        """All of its text, white space collapsed."""
        return " ".join(" ".join(self.texts).split())


def _built(tmp_path: Path, *entries: dict[str, Any], **files: str | bytes) -> tuple[Built, dict[str, str]]:
    registry = make_registry(tmp_path / "registry", *entries, **files)
    built = build(registry, tmp_path / "site")
    return built, _files(tmp_path / "site")


def _files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()}


def _pages(files: dict[str, str]) -> dict[str, Page]:
    return {path: Page(text) for path, text in files.items() if path.endswith(".html")}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Build the sample once."""
    root = tmp_path_factory.mktemp("sample")
    built = build(make_sample(root / "registry"), root / "site")
    assert (built.modules, built.alignments, built.left_out) == (8, 2, ())
    return _files(built.output)


def test_build_writes_a_page_for_each_entry(site: dict[str, str]) -> None:
    """There is a first page, a page an entry, the assets, and what GitHub Pages and a static Space need; nothing else."""
    entries = {path for path in site if path.startswith(("modules/", "alignments/"))}
    assert len(entries) == 10
    assert "modules/language-technology/ner-wikineural-student.html" in entries
    assert set(site) - entries == {"index.html", "index.json", "README.md", ".nojekyll", *(f"assets/{name}" for name in ASSETS)}
    assert yaml.safe_load(site["README.md"].split("---")[1]) == {
        "title": "Adapters of the Language Technology Group", "sdk": "static", "app_file": "index.html"
    }  # fmt: skip


def test_build_gives_the_same_bytes_again(tmp_path: Path, site: dict[str, str]) -> None:
    """No time, no path and no order of files shows in what is written."""
    make_sample(tmp_path / "elsewhere")
    assert _files(build(make_sample(tmp_path / "elsewhere"), tmp_path / "site").output) == site
    assert not any(str(tmp_path) in text for text in site.values())


def test_build_leaves_out_what_is_wrong(tmp_path: Path) -> None:
    """Entries with errors are named and not shown, those with warnings are shown; links to what is left out are none."""
    teacher, alignment, module = whole_lineage()
    broken = {**alignment, "license": "mine"}
    warned = module_entry("acme/unlicensed", license="NOASSERTION")
    marked = module_entry("acme/marked", description="<b>bold</b>")
    more = {
        "modules/acme/bad.yaml": "a: [",
        "modules/stray.txt": "",
        "aliases/acme.yaml": "format_version: 1\nmodules: {a: b}\n",
    }
    built, files = _built(tmp_path, teacher, broken, module, warned, marked, **more)
    left_out = {"aliases/acme.yaml", f"alignments/{alignment['id']}.yaml", "modules/acme/bad.yaml", "modules/acme/marked.yaml"}
    assert left_out < set(built.left_out)
    assert "modules/acme/unlicensed.html" in files
    assert not any("marked" in text or "bold" in text for text in files.values())


def test_build_needs_a_title(tmp_path: Path) -> None:
    """A registry whose settings are broken has no page."""
    registry = make_registry(tmp_path / "registry", **{"registry.yaml": "format_version: 1\n"})
    with pytest.raises(EntryError, match=r"`registry\.yaml` of the registry .* has problems"):
        build(registry, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_build_replaces_a_folder_only_with_force(tmp_path: Path) -> None:
    """A page that is there stays as it is, unless it is to be replaced; then nothing old is left."""
    registry = make_registry(tmp_path / "registry", module_entry())
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "old.html").write_text("old")
    with pytest.raises(OutputError, match="site` exists"):
        build(registry, tmp_path / "site")
    assert _files(tmp_path / "site") == {"old.html": "old"}
    build(registry, tmp_path / "site", force=True)
    assert "old.html" not in _files(tmp_path / "site")


@pytest.mark.parametrize("target", [".", "..", "modules", "alignments/acme", "link", "link/modules/acme/new"])
def test_build_never_replaces_the_registry(tmp_path: Path, target: str) -> None:
    """Not even with force: the folder, one around it, and those of its entries, whatever they are called."""
    registry = make_registry(tmp_path / "around" / "registry", *whole_lineage())
    (registry.root / "link").symlink_to(registry.root, target_is_directory=True)
    before = _files(registry.root)
    with pytest.raises(OutputError, match="would take the place of entries of the registry"):
        build(registry, registry.root / target, force=True)
    assert _files(registry.root) == before
    assert build(registry, registry.root / "site", force=True).modules == 2


def test_first_page_has_the_whole_table_without_javascript(site: dict[str, str]) -> None:
    """Every entry is in the HTML with a link to its page; the form that needs JavaScript is hidden."""
    page = Page(site["index.html"])
    links = {element["href"] for element in page.all("a")}
    assert {path for path in site if path.startswith(("modules/", "alignments/"))} <= links
    assert "hidden" in page.all("form")[0]
    for text in ("0.9312", "CC-BY-NC-4.0", "sentence-similarity", "NOASSERTION", "8 modules", "2 alignment maps", "0.5437"):
        assert text in page.text, text


def test_first_page_says_how_to_begin(tmp_path: Path) -> None:
    """The page of an empty registry has no table, and says how the first entry is added."""
    _, files = _built(tmp_path)
    page = Page(files["index.html"])
    assert page.all("table") == page.all("form") == []
    assert "modxfer registry add" in page.text


def test_pages_say_everything_that_an_entry_says(tmp_path: Path) -> None:
    """Every text and number of an entry is on its page."""
    module = module_entry(
        homepage="https://example.com/home", citation="Person 2025.", head={"task": "token-classification", "labels": 9},
        authors=[{"name": "A. Person", "email": "a@example.com", "url": "https://example.com/a", "github": "aperson"}],
        method={**module_entry()["method"], "settings": {"dropout": 0.25, "bias": "none", "rslora": None}},
    )  # fmt: skip
    alignment = alignment_entry(homepage="https://example.com/map", citation="Map 2025.", tags=["maps"])
    _, files = _built(tmp_path, module, alignment)
    for path, entry in (("modules/acme/ner.html", module), ("alignments/acme/bert-to-student.html", alignment)):
        page = Page(files[path])
        shown = page.text + " ".join(value for _, attributes in page.elements for value in attributes.values())
        assert [leaf for leaf in _leaves(entry) if leaf not in shown] == []


def _leaves(value: Any, key: str = "") -> list[str]:
    """List what must be seen: texts in one line, and numbers as the page writes them."""
    match value:
        case dict():
            return [leaf for name, item in value.items() if name != "format_version" for leaf in _leaves(item, name)]
        case list() | tuple():
            return [leaf for item in value for leaf in _leaves(item, key)]
        case bool() | None:
            return [json.dumps(value)]
        case int():
            return [human_size(value) if key == "size_bytes" else f"{value:,}"]
        case float():
            return [f"{value:.4g}"]
        case _:
            return [" ".join(str(value).split())]


def test_links_lead_to_pages_that_are_there(site: dict[str, str]) -> None:
    """Every link inside leads to a file of the page, and to something in it; others are https and send nothing along."""
    for path, page in _pages(site).items():
        ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
        for link in page.all("a") + page.all("link") + [{"href": script["src"]} for script in page.all("script")]:
            parts = urlsplit(link["href"])
            if parts.scheme:
                assert parts.scheme == "https"
                assert link["rel"] == "noopener noreferrer nofollow"
                continue
            target = _resolve(path, parts.path)
            assert target in site, (path, link)
            assert parts.path or parts.fragment in ids, (path, link)


def _resolve(path: str, relative: str) -> str:
    if not relative:
        return path
    steps: list[str] = list(PurePosixPath(path).parent.parts)
    for step in relative.split("/"):
        if step == "..":
            steps.pop()
        else:
            steps.append(unquote(step))
    return "/".join(steps)


def test_links_to_the_hub_are_pinned(site: dict[str, str]) -> None:
    """Repositories and base models are linked at their commits."""
    page = Page(site["modules/language-technology/ner-wikineural-student.html"])
    on_hub = [
        link["href"] for link in page.all("a") if link["href"].startswith("https://huggingface.co/") and "tree" in link["href"]
    ]
    commit = "4f1c2e9ab37d5068f1e2d3c4b5a69788796a5b4c"
    assert set(on_hub) == {
        f"https://huggingface.co/language-technology/ner-wikineural-student/tree/{commit}",
        f"https://huggingface.co/acme/bert-student/tree/{commit}",
    }


def test_pages_can_be_found_their_way_about(site: dict[str, str]) -> None:
    """Each page has a title, a language, one first heading, headings without gaps, landmarks, a skip link and unique ids."""
    titles = Counter(re.search(r"<title>(.*)</title>", text)[1] for path, text in site.items() if path.endswith(".html"))  # type: ignore[index]
    assert max(titles.values()) == 1
    for path, page in _pages(site).items():
        assert page.all("html") == [{"lang": "en"}], path
        levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels)), (path, levels)
        assert all(page.all(landmark) for landmark in ("header", "main", "footer"))
        assert page.all("a")[0] == {"class": "skip", "href": "#main"}
        ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
        assert max(ids.values()) == 1, (path, ids)
        named = {name for _, attributes in page.elements for name in attributes.get("aria-labelledby", "").split()}
        assert named <= set(ids), path
        assert page.unbalanced == page.open == [], path


def test_pages_allow_only_their_own_files(site: dict[str, str]) -> None:
    """The policy of each page forbids everything but the page's own style and script, and nothing is written into a page."""
    assert "unsafe" not in POLICY
    for path, page in _pages(site).items():
        policies = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
        assert policies == [POLICY], path
        assert not page.all("style")
        assert len(page.all("script")) == 1
        assert not [attributes for _, attributes in page.elements if "style" in attributes]


def test_index_names_all_entries(tmp_path: Path) -> None:
    """Programs find every entry in `index.json`, with its page, its pins and its aliases."""
    aliases = "format_version: 1\nmodules: {stable: ner-small}\n"
    _, files = _built(tmp_path, *whole_lineage(), **{"aliases/acme.yaml": aliases})
    index = json.loads(files["index.json"])
    assert [entry["id"] for entry in index["modules"]] == ["acme/ner-large", "acme/ner-small"]
    small = index["modules"][1]
    assert small["aliases"] == ["acme/stable"]
    assert small["page"] in files
    assert small["lineage"] == transferred_entry()["lineage"]
    assert small["source"]["revision"] == transferred_entry()["source"]["revision"]
    assert index["alignments"][0]["scores"] == alignment_entry()["scores"]
    assert "acme/stable" in Page(files["modules/acme/ner-small.html"]).text


def test_searched_text_has_what_the_table_does_not_show(tmp_path: Path) -> None:
    """Authors, data sets, aliases and the description can be searched for too."""
    aliases = "format_version: 1\nmodules: {stable: ner}\n"
    _, files = _built(tmp_path, module_entry(description="Nowhere else."), **{"aliases/acme.yaml": aliases})
    (row,) = [row for row in Page(files["index.html"]).all("tr") if "data-more" in row]
    assert row["data-more"] == "acme/stable A. Person acme/news Nowhere else."


# --- Untrusted text ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_entries_add_no_markup(content: Content) -> None:
    """With a payload in every text, a page has the very elements and attributes that it has with a plain word there."""
    plain = dict(render(hostile_content("word")))
    found = dict(render(content))
    assert found.keys() == plain.keys()
    for path, page in _pages(found).items():
        allowed = _shape(Page(plain[path]))
        assert _shape(page) <= allowed, (path, _shape(page) - allowed)
        assert page.unbalanced == page.open == [], path


def _shape(page: Page) -> set[tuple[str, tuple[str, ...]]]:
    return {(tag, tuple(sorted(attributes))) for tag, attributes in page.elements}


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_entries_make_no_links(content: Content) -> None:
    """No payload becomes the scheme or the host of an address; attributes that run are none."""
    for path, page in _pages(dict(render(content))).items():
        for tag, attributes in page.elements:
            assert not [
                name for name in attributes if name.startswith("on") or name in ("srcdoc", "srcset", "style", "ping")
            ], path
            for name in {"href", "src", "action", "data", "xlink:href"} & set(attributes):
                value = attributes[name]
                ours = value.startswith(
                    ("https://huggingface.co/", "../../", "#", "assets/", "modules/", "alignments/", "index.")
                )
                assert ours, (path, tag, value)
                assert not set(value) & set("<>\"' \n"), value


def test_hostile_texts_are_shown_as_they_are() -> None:
    """What is escaped is not lost: the reader sees the text itself."""
    payload = PAYLOADS[0]
    page = Page(dict(render(HOSTILE[0]))["modules/evil0/teacher.html"])
    assert page.text.count(payload) > 30


def test_every_text_of_an_entry_can_be_hostile() -> None:
    """The walk over the fields reaches all of them: no plain text is left in an attacking entry but the id."""
    entry = HOSTILE[0].modules["evil0/orphan"]
    assert isinstance(entry, ModuleEntry)
    texts = [leaf for leaf in _leaves(entry.model_dump(warnings=False)) if re.search("[a-z]", leaf)]
    assert set(texts) == {PAYLOADS[0], "evil0/orphan"}


@pytest.mark.parametrize(
    "text", [None, *PAYLOADS, "http://example.com", "https://localhost/", "//example.com", "https://a@b.com/"]
)
def test_address_gives_no_link_for_what_is_none(text: str | None) -> None:
    """Only plain https addresses become links, whoever let the others through."""
    assert address(text) == ""


def test_templates_trust_nothing() -> None:
    """No template marks anything as safe or turns the escaping off; all files are where the loader finds them."""
    environment = templates()
    names = environment.list_templates()
    assert {"base.html", "index.html", "entry.html", "module.html", "alignment.html", "macros.html"} == set(names)
    assert environment.loader is not None
    for name in names:
        tree = environment.parse(environment.loader.get_source(environment, name)[0])
        used = {node.name for node in tree.find_all(nodes.Filter)}
        assert not used & {"safe", "tojson", "forceescape", "xmlattr", "urlize"}, name
        assert not list(tree.find_all(nodes.ScopedEvalContextModifier)), name


def test_files_are_written_only_where_ids_can_lead(tmp_path: Path) -> None:
    """An id that no check would let through stops the build before anything is written outside."""
    content = hostile_content("word")
    entry = content.modules["evil0/teacher"].model_copy(update={"id": "../../../evil"})
    from modxfer.registry.site import build as module

    path = next(
        path
        for path, _ in render(
            Content(settings=content.settings, modules={entry.id: entry}, alignments={}, aliases={}, address=None)
        )
        if "evil" in path
    )
    with pytest.raises(AssertionError, match=r"\.\./\.\./\.\./evil"):
        module._write(tmp_path, path, "")


def test_build_loads_no_slow_library(tmp_path: Path) -> None:
    """Building is offline work: torch, transformers and the Hub's library are not loaded."""
    make_registry(tmp_path / "registry", module_entry())
    code = (
        "import sys; from pathlib import Path\n"
        "from modxfer.registry.entries.opening import open_registry\n"
        "from modxfer.registry.site.build import build\n"
        f"build(open_registry({str(tmp_path / 'registry')!r}), Path({str(tmp_path / 'site')!r}))\n"
        "print(sorted({'torch', 'transformers', 'huggingface_hub', 'datasets', 'adapters', 'peft'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_250_000, "1.25 MB"), (2 * 10**15, "2e+03 TB")]
)
def test_human_size_has_three_digits(size: int, text: str) -> None:
    """Sizes are short."""
    assert human_size(size) == text
