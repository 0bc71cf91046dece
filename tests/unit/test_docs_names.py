"""What README and docs/ name is there: commands, settings, variables, links, modules and files."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from darkroom.settings import Settings

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "DECISIONS.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = {name for names in re.findall(r"^([a-z0-9 -]+):", MAKEFILE, re.MULTILINE) for name in names.split()}
# Read where there are no settings: by make, by the tests, by setup, with a commit.
NOT_SETTINGS = {"DARKROOM_RUN", "DARKROOM_REQUIRE_SERVERS", "DARKROOM_CONTAINERS"}


@pytest.fixture(params=PAGES, ids=[page.name for page in PAGES])
def page(request):
    return request.param


def code_of(text):
    """What stands between backticks, in a line or in a block."""
    blocks = re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)
    return [*blocks, *re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))]


def it_names_commands_that_make_knows(page):
    said = {
        target
        for code in code_of(page.read_text())
        for line in re.split(r"\n|&&|;|#", re.sub(r"\"[^\"]*\"|'[^']*'", "", code))
        if (found := re.match(r"\s*(?:[A-Z0-9_]+=\S* )*make ((?:[^ ]+ ?)+)", line))
        for target in found[1].split()
        if re.fullmatch(r"[a-z][a-z-]+", target)
    }
    assert said - TARGETS == set()


def it_names_settings_that_are_read(page):
    said = set(re.findall(r"DARKROOM_[A-Z0-9_]*[A-Z0-9]", page.read_text()))
    known = {f"DARKROOM_{name.upper()}" for name in Settings.model_fields}
    known |= {f"DARKROOM_FROM_{name.upper()}" for name in Settings.model_fields if name.startswith("s3_")}  # lake copy
    assert said - known - NOT_SETTINGS == set()


def it_links_to_what_is_there(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def it_names_modules_that_can_be_run(page):
    for module in re.findall(r"python -m ([a-z_.]+)", page.read_text()):
        assert importlib.util.find_spec(module) is not None, module


def it_names_files_that_are_there(page):
    folders = "darkroom|dags|plugins|spark_apps|training|infra|benchmarks|tests|docs"
    for name in re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text()):
        assert (ROOT / name).exists(), name
