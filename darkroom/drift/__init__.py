"""Drift: does a day look like what the model was validated on? Pure functions over arrays.

``build_reference`` keeps what a model's validation images look like; ``check`` compares a day with it and gives a
p-value for each signal; ``judge`` decides over days whether to raise an alarm; ``compare_performance`` is for when true
labels arrive. Nothing here knows of Airflow, Spark, TensorFlow or MLflow.
"""

from darkroom.drift.alarm import Alarm, AlarmPolicy, judge
from darkroom.drift.calibration import Calibration, calibrate
from darkroom.drift.check import check, check_rows
from darkroom.drift.images import Images, images_of_rows, pixel_statistics
from darkroom.drift.performance import Performance, compare_performance
from darkroom.drift.reference import Projection, Reference, build_reference, choose_images
from darkroom.drift.report import DriftReport, Signal, Unlike

__all__ = [
    "Alarm",
    "AlarmPolicy",
    "Calibration",
    "DriftReport",
    "Images",
    "Performance",
    "Projection",
    "Reference",
    "Signal",
    "Unlike",
    "build_reference",
    "calibrate",
    "check",
    "check_rows",
    "choose_images",
    "compare_performance",
    "images_of_rows",
    "judge",
    "pixel_statistics",
]
