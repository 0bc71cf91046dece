"""Classical features: pure functions from pixels to vectors, which training and batch inference share.

Computed with scikit-image, OpenCV and mahotas. docs/features.md says which there are, and when to choose them.
"""

from darkroom.features.feature import Feature, Raws, feature_kinds, parse_feature
from darkroom.features.sets import FeatureSet, FittedFeatures
from darkroom.features.stored import read_features

__all__ = ["Feature", "FeatureSet", "FittedFeatures", "Raws", "feature_kinds", "parse_feature", "read_features"]
