"""Fixtures of the whole suite live in tests/fixtures, one plugin an idea."""

from hypothesis import settings

settings.register_profile("pulssi", deadline=None, derandomize=True)  # no timer decides, and a failure comes again
settings.load_profile("pulssi")

pytest_plugins = [
    "tests.fixtures.browser",
    "tests.fixtures.city",
    "tests.fixtures.local_services",
    "tests.fixtures.fake_gateway",
    "tests.fixtures.notifier",
    "tests.fixtures.recorded",
    "tests.fixtures.storage",
]
