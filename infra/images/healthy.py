"""Exit code 0 when a URL answers 200 within five seconds: ``python -S healthy.py URL``. Images have no curl."""

import sys
import urllib.request

try:
    with urllib.request.urlopen(sys.argv[1], timeout=5) as answer:
        sys.exit(answer.status != 200)
except OSError as error:
    sys.exit(f"{sys.argv[1]}: {error}")
