"""Near duplicates are confirmed pair by pair; nothing is chained, and the order of the input does not matter."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from darkroom.duplicates import CONFIRMED, Clusters, features, find_clusters
from darkroom.errors import DataError
from darkroom.imagestats import measure, perceptual_hash
from darkroom.settings import get_settings

pytestmark = pytest.mark.unit


def radiograph(seed: int, size: tuple[int, int] = (320, 280)) -> Image.Image:
    """A picture with the coarse layout that all of them share, and details of its own."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:96, 0:96] / 96 - 0.5
    layout = 160 - 300 * np.exp(-((np.abs(columns) - 0.22) ** 2 / 0.01 + rows**2 / 0.08)) * 0.4
    own = np.asarray(
        Image.fromarray(rng.normal(0, 1, (24, 24)).astype(np.float32)).resize((96, 96), Image.Resampling.BICUBIC)
    )
    pixels = np.clip(layout + 22 * own, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def saved(image: Image.Image, quality: int = 90) -> bytes:
    target = BytesIO()
    image.save(target, "JPEG", quality=quality)
    return target.getvalue()


def clusters_of(files: dict[str, bytes], seed: int = 0) -> Clusters:
    names = list(files)
    np.random.default_rng(seed).shuffle(names)
    measured = [measure(files[name]) for name in names]
    thumbnails = np.stack([found.thumbnail for found in measured if found.thumbnail is not None])
    return find_clusters(names, [found.phash or "" for found in measured], thumbnails)


def thumbnail_clusters(thumbnails: np.ndarray) -> Clusters:
    names = [f"{number:06d}" for number in range(len(thumbnails))]
    return find_clusters(names, [perceptual_hash(one) for one in thumbnails], thumbnails)


def it_finds_saved_scaled_and_brightened_copies() -> None:
    files = {f"b{seed:03d}": saved(radiograph(seed)) for seed in range(40)}
    original = radiograph(7)
    files |= {
        "a-quality": saved(original, 40),
        "c-smaller": saved(original.resize((200, 175), Image.Resampling.LANCZOS)),
        "d-brighter": saved(ImageEnhance.Brightness(original).enhance(1.1)),
    }
    found = clusters_of(files)
    assert found.cluster_of == dict.fromkeys(["a-quality", "b007", "c-smaller", "d-brighter"], "a-quality")
    assert found.report["clusters"] == 1
    assert found.report["largest"] == 4


def it_keeps_different_images_of_one_layout_apart() -> None:
    assert clusters_of({f"{seed:03d}": saved(radiograph(seed)) for seed in range(150)}).cluster_of == {}


def it_does_not_depend_on_the_order() -> None:
    files = {f"{seed}-{quality}": saved(radiograph(seed), quality) for seed in range(12) for quality in (90, 60, 50)}
    first, second = clusters_of(files, 1), clusters_of(files, 2)
    assert first == second
    assert first.report["clusters"] == 12


def it_leaves_images_without_detail_alone() -> None:
    flat = np.stack([np.full((32, 32), value, np.uint8) for value in (0, 0, 3, 255)])
    assert thumbnail_clusters(flat).cluster_of == {}
    assert not features(flat).any()


def it_manages_without_images() -> None:
    assert find_clusters([], [], np.zeros((0, 32, 32), np.uint8)) == find_clusters(
        ["a"], ["0" * 16], np.zeros((1, 32, 32))
    )


def film(frames: int, step: float) -> np.ndarray:
    """Frames that each resemble the next, while the first and the last do not: uint8[frames, 32, 32]."""
    rng = np.random.default_rng(5)
    coarse = rng.normal(0, 1, (32, 32))
    layout = np.asarray(Image.fromarray(coarse[:6, :6].astype(np.float32)).resize((32, 32), Image.Resampling.BICUBIC))
    one, other = rng.normal(0, 1, (2, 32, 32))
    angles = np.arange(frames) * step
    own = np.cos(angles)[:, None, None] * one + np.sin(angles)[:, None, None] * other
    return np.clip(128 + 40 * layout + 10 * own, 0, 255).astype(np.uint8)


def it_breaks_up_what_only_chaining_holds_together() -> None:
    frames = film(12, 0.2)
    found = thumbnail_clusters(frames)
    assert found.report["chained"] >= 1
    table = features(frames)
    groups: dict[str, list[int]] = {}
    for name, cluster in found.cluster_of.items():
        groups.setdefault(cluster, []).append(int(name))
    assert len(groups) > 1
    for members in groups.values():
        assert (table[members] @ table[members].T >= CONFIRMED - 1e-5).all()


def it_refuses_a_mass_that_only_chaining_holds_together() -> None:
    with pytest.raises(DataError, match="150 of 150 images are chained together"):
        thumbnail_clusters(film(150, 0.1))


def it_reports_a_large_cluster_whose_members_confirm_each_other() -> None:
    rng = np.random.default_rng(0)
    base = film(1, 0)[0].astype(int)
    copies = np.clip(base + rng.integers(-1, 2, (300, 32, 32)), 0, 255).astype(np.uint8)
    found = thumbnail_clusters(copies)
    assert found.report["large"] == {"000000": 300}
    assert found.report["chained"] == 0


def it_stays_fast_where_every_hash_is_alike() -> None:
    rng = np.random.default_rng(0)
    low = np.asarray(
        Image.fromarray(rng.normal(0, 1, (8, 8)).astype(np.float32)).resize((32, 32), Image.Resampling.BICUBIC)
    )
    thumbnails = np.clip(128 + 60 * low + rng.normal(0, 6, (4000, 32, 32)), 0, 255).astype(np.uint8)
    started = time.perf_counter()
    found = find_clusters([f"{n:05d}" for n in range(4000)], ["00ff00ff00ff00ff"] * 4000, thumbnails)
    assert time.perf_counter() - started < 20
    assert found.cluster_of == {}


def samples(name: str) -> Iterator[tuple[str, bytes]]:
    archive = Path(os.environ.get("DARKROOM_SAMPLES", get_settings().samples)) / name
    if not archive.exists():
        pytest.skip(f"{archive} is not here")
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            if not entry.is_dir():
                yield entry.filename, opened.read(entry)


@pytest.mark.integration
def it_merges_no_two_patients_of_the_real_x_rays() -> None:
    contents = {sha256(data).hexdigest(): data for _, data in samples("chest-xray-224.zip")}
    assert len(contents) == 5808
    assert clusters_of(contents).cluster_of == {}


@pytest.mark.integration
def it_finds_the_edited_copies_among_the_real_ct_images() -> None:
    contents: dict[str, bytes] = {}
    names: dict[str, str] = {}
    for name, data in samples("chest-ct-400.zip"):
        contents[sha256(data).hexdigest()] = data
        names[sha256(data).hexdigest()] = name
    found = clusters_of(contents)
    pair = [one for one, name in names.items() if name.endswith(("test/normal/24.jpg", "test/normal/24 - Copy.jpg"))]
    assert len({found.cluster_of[one] for one in pair}) == 1
    assert 10 <= found.report["clusters"] <= 40
    assert found.report["largest"] <= 6
