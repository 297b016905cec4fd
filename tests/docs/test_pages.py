"""Every page does what it says: commands run and print what stands below them, files load, code compiles."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tomli
from pages import PAGES, ROOT, Block, Reader, blocks

from mlmake.config.load import parse
from mlmake.errors import ConfigError

_LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_BLOCKS = [block for page in PAGES for block in blocks(page)]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def of(language: str) -> list[Block]:
    return [block for block in _BLOCKS if block.language == language]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_print_what_the_page_says(page: Path, tmp_path: Path) -> None:
    reader = Reader(tmp_path.resolve())
    for block in blocks(page):
        reader.follow(block)


@pytest.mark.parametrize("block", of("toml"), ids=lambda block: block.place)
def test_toml_loads(block: Block, tmp_path: Path) -> None:
    """A part of a file may name steps and stores that stand elsewhere, but no key that does not exist."""
    tomli.loads(block.text)
    try:
        parse(block.text.encode(), str(tmp_path))
    except ConfigError as error:
        assert block.marked("file") == "", error
        unknown = [str(problem) for problem in error.problems if re.match(r"unknown (key|table)", problem.what)]
        assert not unknown, unknown


@pytest.mark.parametrize("block", of("python"), ids=lambda block: block.place)
def test_python_compiles(block: Block) -> None:
    compile(block.text, block.place, "exec", dont_inherit=True)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{name(page)}: {link}"


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in _LINK.findall(index.read_text())}
    assert {page for page in PAGES if page.parent != ROOT} - {index} <= linked


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    words = [
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(page.read_text())
    ]
    return set(words)
