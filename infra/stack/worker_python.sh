#!/bin/sh
# The Python of Spark's workers. Every job ships this file and a packed environment beside it; the first one on a
# machine unpacks the environment, and those after it find it there.
set -eu
packed=$(ls environment-*.packed)
target="$DARKROOM_ENVIRONMENTS/${packed%.packed}"
if [ ! -d "$target" ]; then
  mkdir -p "$DARKROOM_ENVIRONMENTS"
  (
    flock 9
    if [ ! -d "$target" ]; then
      rm -rf "$target.partial"
      mkdir "$target.partial"
      tar -xzf "$packed" -C "$target.partial"
      mv "$target.partial" "$target"
    fi
  ) 9>"$target.lock"
fi
exec "$target/bin/python" "$@"
