"""The form of the pages: length, navigation, links, and names of files and targets that exist."""

import re
from collections import Counter

import pytest

from tests.harness.pages import DOCS, PAGES, README, ROOT, TOPICS, Page, page

EVERY_PAGE = pytest.mark.parametrize("one", PAGES, ids=lambda one: one.name)
LONGEST = 140
NOT_RUN = {
    "docs/calling.md": 1,  # npm
    "docs/cli.md": 1,  # until six in the morning
    "docs/deployment.md": 3,  # Docker
    "docs/live.md": 4,  # a key
    "deploy/README.md": 2,  # Docker
    "deploy/kubernetes/README.md": 2,  # a cluster
    "deploy/s3/README.md": 1,  # an AWS account
}
"""The number of blocks of commands that no test runs, each for the reason that its page gives."""


def test_the_readme_is_short() -> None:
    lines = README.text.splitlines()

    assert len(lines) <= 200
    assert [line for line in lines if len(line) > LONGEST] == []


def test_every_page_is_in_the_navigation_and_linked_from_the_first() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:", 1)[1]
    linked = {link.partition("#")[0] for link in page("docs/index.md").links}

    names = [topic.path.name for topic in TOPICS]
    assert sorted(re.findall(r"[\w-]+\.md", navigation)) == names
    assert sorted({"index.md", *linked}) == names


def test_a_block_of_commands_that_no_test_runs_gives_a_reason() -> None:
    assert Counter(one.name for one in PAGES for block in one.blocks if block.why_not) == NOT_RUN


@EVERY_PAGE
def test_every_link_leads_to_a_file_and_a_heading_that_exist(one: Page) -> None:
    for link in one.links:
        name, _, anchor = link.partition("#")
        target = (one.path.parent / name).resolve() if name else one.path
        assert target.exists(), link
        assert not anchor or anchor in Page(target).anchors, link
        assert one not in TOPICS or target.parent == DOCS, f"{link} would not be on the site"


@EVERY_PAGE
def test_every_file_that_is_named_exists(one: Page) -> None:
    folders = "workflows|activities|message_batches|tests|arazzo|examples|deploy|benchmarks|docs"
    named = re.findall(rf"(?<![\w/.-])((?:{folders})/[\w./-]*[\w/])", one.text)
    written_later = {"arazzo/node_modules"}

    assert sorted(path for path in set(named) - written_later if not (ROOT / path).exists()) == []


@EVERY_PAGE
def test_every_target_of_make_exists(one: Page) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))

    assert set(re.findall(r"(?:`|\$ )make ([a-z-]+)", one.text)) <= targets
