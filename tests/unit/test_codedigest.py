"""The code digest changes with any source, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkroom.codedigest import PACKAGES, code_digest, digest_of, package_folder

pytestmark = pytest.mark.unit


def it_covers_the_three_packages() -> None:
    assert PACKAGES == ("darkroom", "spark_apps", "training")
    assert (package_folder("darkroom") / "contract.py").is_file()
    assert len(code_digest()) == 16


def it_changes_with_content_names_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / "sub" / "b.py").write_text("y = 1")
    first = digest_of([("p", tmp_path)])
    (tmp_path / "notes.txt").write_text("no code")
    assert digest_of([("p", tmp_path)]) == first
    assert digest_of([("q", tmp_path)]) != first
    (tmp_path / "sub" / "b.py").write_text("y = 2")
    second = digest_of([("p", tmp_path)])
    assert second != first
    (tmp_path / "sub" / "b.py").rename(tmp_path / "b.py")
    assert digest_of([("p", tmp_path)]) not in (first, second)


def it_needs_an_importable_package() -> None:
    with pytest.raises(ImportError, match="no_such_package"):
        package_folder("no_such_package")
