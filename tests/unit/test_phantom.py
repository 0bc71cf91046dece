"""The phantom set: deterministic, streamed, in the layout and with the dirt of the real one."""

from __future__ import annotations

import hashlib
import io
import itertools
import re
import tracemalloc
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile, UnidentifiedImageError

from darkroom.sources import LayoutOptions, PhantomSource, describe_all, phantom_images
from darkroom.sources.phantom import draw, phantom_plan

pytestmark = pytest.mark.unit

SMALL = PhantomSource(images=200, seed=7, size_range=(400, 440))
NAMES = re.compile(
    r"chest_xray/(train|test|val)/"
    r"(PNEUMONIA/person[0-9]+_(bacteria|virus)_[0-9]+|NORMAL/(NORMAL2-)?IM-[0-9]{4,}-[0-9]{4})\.jpeg"
)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return dict(phantom_images(SMALL))


def pixels(data: bytes) -> np.ndarray:
    return cv2.resize(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE), (128, 128)).astype(float)


def alike(one: bytes, other: bytes) -> float:
    return float(np.corrcoef(pixels(one).ravel(), pixels(other).ravel())[0, 1])


def it_has_the_layout_and_the_names_of_the_real_set(files: dict[str, bytes]) -> None:
    assert len(files) == 200
    assert all(NAMES.fullmatch(path) for path in files)
    described = describe_all(list(files), LayoutOptions(groups="chest-xray"))
    assert all(group for _, _, group in described)
    counts = Counter((split, label) for label, split, _ in described)
    assert (counts["val", "NORMAL"], counts["val", "PNEUMONIA"]) == (8, 8)
    assert 2.5 < counts["train", "PNEUMONIA"] / counts["train", "NORMAL"] < 3.3
    patients = {group: {split for _, split, g in described if g == group} for _, _, group in described}
    assert all(len(splits) == 1 for splits in patients.values())
    assert max(Counter(group for _, _, group in described).values()) > 1


def it_keeps_the_imbalance_and_one_tiny_val_split_at_any_size() -> None:
    plan = list(phantom_plan(PhantomSource(images=20_000)))
    assert len({planned.path for planned in plan}) == 20_000
    counts = Counter(tuple(planned.path.split("/")[1:3]) for planned in plan)
    assert counts["val", "NORMAL"] + counts["val", "PNEUMONIA"] == 16
    assert 2.8 < counts["train", "PNEUMONIA"] / counts["train", "NORMAL"] < 3.0


def it_has_every_fault_in_the_first_200(files: dict[str, bytes]) -> None:
    plan = list(phantom_plan(SMALL))
    assert Counter(planned.quirk for planned in plan if planned.quirk) == {
        "exact": 3,
        "near": 3,
        "contradiction": 1,
        "truncated": 2,
        "empty": 1,
        "text": 1,
        "page": 1,
    }
    across = 0
    for planned in plan:
        data, original = files[planned.path], files[plan[planned.source].path]
        split, label = planned.path.split("/")[1:3]
        other_split, other_label = plan[planned.source].path.split("/")[1:3]
        if planned.quirk in ("exact", "contradiction"):
            assert data == original
        if planned.quirk == "near":
            assert data != original
            assert alike(data, original) > 0.99
        if planned.quirk in ("exact", "near"):
            assert label == other_label
            across += split != other_split
        if planned.quirk == "contradiction":
            assert label != other_label
    assert across == 2


def it_breaks_files_as_they_break_in_life(files: dict[str, bytes]) -> None:
    broken = {planned.quirk: files[planned.path] for planned in phantom_plan(SMALL)}
    assert broken["empty"] == b""
    for quirk in ("text", "page"):
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(broken[quirk]))
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(broken["truncated"])).load()


def it_draws_gray_and_colour_jpegs_within_the_size_range() -> None:
    source = PhantomSource(images=60, seed=1)
    sizes, modes = set(), Counter()
    for planned in phantom_plan(source):
        if planned.quirk is None:
            image = Image.open(io.BytesIO(draw(source, planned)))
            assert image.format == "JPEG"
            sizes.update(image.size)
            modes[image.mode] += 1
    assert (min(sizes), max(sizes)) == (400, 2000)
    assert set(modes) == {"L", "RGB"}
    assert modes["L"] > modes["RGB"]


def it_draws_the_images_of_a_patient_alike(files: dict[str, bytes]) -> None:
    plan = [planned for planned in phantom_plan(SMALL) if planned.quirk is None]
    groups = itertools.groupby(sorted(plan, key=lambda p: p.patient), key=lambda p: p.patient)
    families = [family for _, group in groups if len(family := list(group)) > 1]
    same = [alike(files[a.path], files[b.path]) for a, b, *_ in families]
    other = [alike(files[a[0].path], files[b[0].path]) for a, b in itertools.pairwise(families)]
    assert len(same) > 10
    assert np.median(same) > np.median(other) + 0.02
    assert max(same) < 0.999


def it_draws_a_file_from_seed_and_index_alone(files: dict[str, bytes]) -> None:
    shorter = SMALL.model_copy(update={"images": 20})
    for planned in reversed(list(phantom_plan(shorter))):
        assert files[planned.path] == draw(shorter, planned)
    other = dict(phantom_images(shorter.model_copy(update={"seed": 8})))
    assert not {d for d in other.values() if len(d) > 1000} & set(files.values())


def it_streams() -> None:
    list(itertools.islice(phantom_images(SMALL), 30))
    tracemalloc.start()
    for _ in itertools.islice(phantom_images(SMALL), 30):
        pass
    few = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    for _ in itertools.islice(phantom_images(SMALL), 90):
        pass
    assert tracemalloc.get_traced_memory()[1] < few + 3_000_000
    tracemalloc.reset_peak()
    assert sum(1 for _ in itertools.islice(phantom_plan(PhantomSource(images=1_000_000)), 8_000)) == 8_000
    assert tracemalloc.get_traced_memory()[1] < few + 5_000_000
    tracemalloc.stop()


def it_hides_the_class_from_brightness_and_shows_it_in_texture(files: dict[str, bytes]) -> None:
    """Mean brightness hardly tells the classes apart; strong edges in two directions at once do (ribs have one)."""
    brightness: dict[bool, list[float]] = {True: [], False: []}
    texture: dict[bool, list[float]] = {True: [], False: []}
    for planned in phantom_plan(SMALL):
        if planned.quirk is None:
            image = pixels(files[planned.path])
            plain = cv2.GaussianBlur((image / image.std()).astype(np.float32), (0, 0), 1.2)
            corners = cv2.cornerMinEigenVal(plain, 7)[24:88, 16:112]
            sick = planned.finding is not None
            brightness[sick].append(float(image.mean()))
            texture[sick].append(float(np.percentile(corners, 85)))

    def apart(values: dict[bool, list[float]]) -> float:
        """Probability that a sick one has more than a healthy one."""
        return float(np.mean([s > h for s in values[True] for h in values[False]]))

    assert 0.35 < apart(brightness) < 0.75
    assert apart(texture) > 0.85


def it_says_in_its_description_that_it_is_synthetic() -> None:
    assert "Synthetic" in (PhantomSource.__doc__ or "")
    page = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
    assert "synthetic" in page.lower()


def it_repeats_itself_byte_for_byte(files: dict[str, bytes]) -> None:
    digest = hashlib.sha256(b"".join(data for _, data in sorted(files.items()))).hexdigest()
    again = hashlib.sha256(b"".join(data for _, data in sorted(phantom_images(SMALL)))).hexdigest()
    assert digest == again
