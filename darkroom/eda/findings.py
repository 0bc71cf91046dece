"""What a reader should look at first: a sentence or two for each thing that could spoil training or its figures."""

from __future__ import annotations

import numpy as np

from darkroom.contract import TEST, TRAIN, VAL
from darkroom.eda.statistics import Facts, brightness_shift, of_class, of_split
from darkroom.html import CalloutKind, number, percent, plural

Finding = tuple[CalloutKind, str]

FEW_IMAGES = 50
IMBALANCE = 1.5
SHIFT = 0.3  # standard deviations
SIZE_RATIO = 1.3
_GRAVITY: tuple[CalloutKind, ...] = ("problem", "warning", "note", "good")
_TOLD = {
    "identical": "of identical files",
    "near_duplicates": "of near duplicates",
    "groups": "of one group (for example a patient)",
}


def findings(facts: Facts) -> list[Finding]:
    """The findings, the gravest first. Thresholds are those of this module and only decide what is mentioned."""
    if not len(facts.files):
        return [("problem", "There are no images in this dataset version.")]
    found = [*_leaks(facts), *_dirt(facts), *_labels(facts), *_splits(facts), *_shortcuts(facts)]
    found.sort(key=lambda finding: _GRAVITY.index(finding[0]))
    return found or [("good", "Nothing was found that would spoil training: no leaks, broken files or contradictions.")]


def _leaks(facts: Facts) -> list[Finding]:
    found: list[Finding] = []
    for kind, told in _TOLD.items():
        leak = facts.leaks[kind]
        if leak["sets"]:
            cure = (
                "The new split keeps each together." if facts.splits is not None else "The split step will repair this."
            )
            found.append(
                (
                    "problem" if facts.splits is None else "note",
                    f"Leaks: {plural(leak['sets'], 'set')} {told} ({plural(leak['files'], 'file')}) across given "
                    f"splits. Figures on a test split that shares images with train are too good. {cure}",
                )
            )
    if facts.leaks_after is not None:
        left = {kind: facts.leaks_after[kind]["sets"] for kind in _TOLD}
        if any(left.values()):
            told = ", ".join(f"{count:,} {_TOLD[kind]}" for kind, count in left.items() if count)
            found.append(("problem", f"The new split is not clean. Sets in more than one split: {told}."))
        else:
            found.append(("good", "No file, near duplicate or group lies in more than one part of the new split."))
    return found


def _dirt(facts: Facts) -> list[Finding]:
    found: list[Finding] = []
    files = len(facts.files)
    if facts.contradictions["contents"]:
        found.append(
            (
                "problem",
                f"Contradicting labels: {plural(facts.contradictions['contents'], 'image')} under two or more classes "
                f"({plural(facts.contradictions['files'], 'file')}). No split takes them.",
            )
        )
    broken = sum(facts.problems.values())
    if broken == files:
        found.append(("problem", f"None of the {plural(files, 'file')} can be used: all have a problem."))
    elif broken:
        found.append(
            (
                "warning",
                f"{plural(broken, 'file')} ({percent(broken / files)}) cannot be used. They are left out, never lost.",
            )
        )
    repeated = facts.duplicates["exact"]
    if repeated["files"]:
        surplus = repeated["files"] - repeated["sets"]
        found.append(("note", f"Exact repeats: {plural(surplus, 'file')}. Each content counts once."))
    return found


def _labels(facts: Facts) -> list[Finding]:
    found: list[Finding] = []
    unlabelled = int(facts.usable["label"].isna().sum())
    if not facts.classes:
        found.append(("warning", "No image has a label, so nothing can be learned from them yet."))
    elif unlabelled:
        found.append(("warning", f"{plural(unlabelled, 'usable image')} have no label and are left out."))
    if len(facts.classes) == 1:
        found.append(("warning", f"All labelled images are {facts.classes[0]}. Training needs at least two classes."))
    counts = facts.usable["label"].value_counts()
    if len(counts) > 1 and counts.iloc[0] >= IMBALANCE * counts.iloc[-1]:
        ratio = counts.iloc[0] / counts.iloc[-1]
        most = sorted(counts.index[counts == counts.iloc[0]])[0]
        least = sorted(counts.index[counts == counts.iloc[-1]])[0]
        found.append(
            (
                "note",
                f"Classes are uneven: {number(ratio, 2)} images of {most} for each of {least}. "
                "Accuracy alone would mislead; balanced accuracy does not.",
            )
        )
    return found


def _splits(facts: Facts) -> list[Finding]:
    found: list[Finding] = []
    for split in (VAL, TEST):
        count = len(of_split(facts.usable, split))
        if 0 < count < FEW_IMAGES:
            found.append(
                ("warning", f"The {split} split has {plural(count, 'usable image')}: too few to tell two models apart.")
            )
    shift = brightness_shift(facts)
    if shift is not None and abs(shift) >= SHIFT:
        found.append(
            (
                "note",
                f"Images of {TEST} are {'brighter' if shift > 0 else 'darker'} than those of {TRAIN} by "
                f"{abs(shift):.1f} standard deviations: a shift between the two that a model will feel.",
            )
        )
    return found


def _shortcuts(facts: Facts) -> list[Finding]:
    """Sizes that give the class away: a model that sees them need not look at the image."""
    if not 2 <= len(facts.classes) <= 20:
        return []
    pixels = {}
    for label in facts.classes:
        rows = of_class(facts.usable, label).dropna(subset=["width", "height"])
        if len(rows) >= 20:
            pixels[label] = float(np.median(rows["width"].to_numpy(float) * rows["height"].to_numpy(float)))
    if len(pixels) < 2:
        return []
    large, small = max(pixels, key=lambda name: pixels[name]), min(pixels, key=lambda name: pixels[name])
    if pixels[large] < SIZE_RATIO**2 * pixels[small]:
        return []
    return [
        (
            "note",
            f"Image size tells classes apart: the median {large} image has {pixels[large] / pixels[small]:.1f} times "
            f"the pixels of the median {small} image. Resizing hides most of this; blur may still show it.",
        )
    ]
