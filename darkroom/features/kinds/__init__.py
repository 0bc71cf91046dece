"""The kinds of features: one module each, found by its name. See darkroom/features/feature.py for what a module has."""
