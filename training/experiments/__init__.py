"""More than one fit of a config: folds, searches, and where they run."""
