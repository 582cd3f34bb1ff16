"""Fixtures of the whole suite live in tests/fixtures, one plugin an idea."""

pytest_plugins = [
    "tests.fixtures.browser",
    "tests.fixtures.city",
    "tests.fixtures.local_services",
    "tests.fixtures.fake_gateway",
    "tests.fixtures.notifier",
    "tests.fixtures.storage",
]
