"""What every backend must do. A test module makes a class of a suite and gives it the backend as a fixture."""

import pytest

pytest.register_assert_rewrite("tests.suites.storage", "tests.suites.tables")
