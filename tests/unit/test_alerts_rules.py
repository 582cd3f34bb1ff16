from __future__ import annotations

from pathlib import Path

import pytest

from alerts.rules import SHIPPED, Rule, Source, load_rules
from pulssi.errors import ConfigurationError
from pulssi.frames import IndicatorKind
from pulssi.messages import SeriesInfo, Severity


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(path: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_rules(path)
    return caught.value.problems


def series(**given) -> SeriesInfo:
    return SeriesInfo(
        **{"series_id": 1, "device_id": "fmi-100662", "quantity": "no2", "unit": "ug/m3", "kind": "air"} | given
    )


def test_the_shipped_rules_load_and_cover_every_condition():
    rules = load_rules()
    assert {rule.condition for rule in rules} == {"threshold", "no_data", "anomaly"}
    assert {rule.id for rule in rules} >= {"no2-alert", "o3-information", "pm2_5-now", "traffic-queuing", "no-data"}


@pytest.mark.parametrize(
    ("rule", "limit", "held_s"),
    [("no2-alert", 200, 7200), ("o3-alert", 240, 0), ("o3-information", 180, 0), ("so2-alert", 350, 7200)],
)
def test_the_shipped_air_thresholds_are_those_of_the_directive(rule, limit, held_s):
    """Directive (EU) 2024/2881: an hour above, for NO2 and SO2 three hours in a row (the hour plus two more)."""
    found = next(one for one in load_rules() if one.id == rule)
    assert (found.threshold.above, found.threshold.window_s, found.threshold.for_s) == (limit, 3600, held_s)


def test_every_problem_of_every_rule_is_told_at_once(tmp_path):
    path = written(
        tmp_path,
        """
        [[rule]]
        id = "Bad Name"
        severity = "severe"
        scope = { quantity = ["no2", "phlogiston"], district = ["04", "99"], planet = ["mars"] }
        threshold = { above = 1, below = 2 }
        [[rule]]
        id = "two"
        severity = "info"
        threshold = { above = 1, clear = 2 }
        [[rule]]
        id = "three"
        severity = "info"
        texts = { fi = "{{ plaice }}", sv = "{{ place", de = "x" }
        no_data = { after_s = 0 }
        [[rule]]
        id = "two"
        severity = "info"
        anomaly = { score = 0.5, clear = 0.9 }
        [[rule]]
        id = "four"
        severity = "info"
        """,
    )
    text = "\n".join(problems_of(path))
    for part in [
        "rule Bad Name: id:",
        "severity",
        "phlogiston",
        "'99'",
        "planet",
        "exactly one of above and below",
        "rule two: threshold: clear = 2 lies beyond above = 1",
        "after_s",
        "texts.de",
        "rule two: anomaly: clear = 0.9 lies beyond score = 0.5",
        "rule four: exactly one of threshold, anomaly and no_data",
    ]:
        assert part in text, part


def test_texts_that_do_not_render_are_problems(tmp_path):
    path = written(
        tmp_path,
        """
        [[rule]]
        id = "a"
        severity = "info"
        no_data = { after_s = 10 }
        texts = { fi = "{{ plaice }}", sv = "{{ place", en = "{{ place }}: {{ value }}" }
        """,
    )
    finnish, swedish = problems_of(path)
    assert "rule a: texts.fi: 'plaice' is undefined" in finnish
    assert "rule a: texts.sv:" in swedish


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("rule = 3", "[[rule]]"),
        ("[[rules]]\nid='a'", "'rules' is not known"),
        ("not toml", "rules.toml"),
        ("[[rule]]\nid='a'\nseverity='info'\nthreshold={above=inf}", "finite"),
        ("[[rule]]\nid='a'\nseverity='info'\nthreshold={above=1, window_s=60}", "a reading has no window_s"),
        ("[[rule]]\nid='a'\nseverity='info'\nthreshold={above=1, on='window'}", "window_s is needed"),
        ("[[rule]]\nid='a'\nseverity='info'\nthreshold={above=1, statistic='p95'}", "a reading has no p95"),
        ("[[rule]]\nid='a'\nseverity='info'\nthreshold={above=1, without=['dirty']}", "without"),
        ("[[rule]]\nid='a'\nseverity='info'\nthreshold={above=1,on='window',window_s=1,without=['step']}", "flags"),
    ],
)
def test_a_wrong_file_is_told_with_its_name(tmp_path, text, part):
    assert any(part in problem for problem in problems_of(written(tmp_path, text)))


def test_a_missing_file_is_a_configuration_error(tmp_path):
    assert "rules.toml" in problems_of(tmp_path / "rules.toml")[0]


def test_the_version_is_that_of_the_content():
    one = {"id": "a", "severity": "info", "threshold": {"above": 10}}
    same = {"severity": "info", "threshold": {"above": 10.0, "for_s": 0}, "id": "a"}
    other = {**one, "threshold": {"above": 11}}
    versions = [Rule.model_validate(rule).version for rule in (one, same, other)]
    assert versions[0] == versions[1] != versions[2]


@pytest.mark.parametrize(
    ("scope", "info", "inside"),
    [
        ({}, {}, True),
        ({"kind": ["traffic"]}, {}, False),
        ({"kind": ["traffic", "air"]}, {}, True),
        ({"quantity": ["o3"]}, {}, False),
        ({"district": ["04"]}, {"district": "04"}, True),
        ({"district": ["04"]}, {}, False),
        ({"device": ["fmi-*"]}, {}, True),
        ({"device": ["tms-*", "rws-*"]}, {}, False),
        ({"device": ["route:*"]}, {"device_id": "route:4400:1"}, True),
        ({"channel": ["1", "2"]}, {"channel": "1"}, True),
        ({"channel": ["1", "2"]}, {"channel": "1-5min"}, False),
        ({"channel": [""]}, {}, True),
        ({"kind": ["air"], "quantity": ["o3"]}, {}, False),
    ],
)
def test_a_scope_holds_what_all_its_fields_allow(scope, info, inside):
    rule = Rule.model_validate({"id": "a", "severity": "info", "scope": scope, "no_data": {"after_s": 1}})
    assert rule.scope.matches(series(**info)) is inside


def test_conditions_become_numbers():
    below = Rule.model_validate(
        {"id": "a", "severity": "critical", "threshold": {"below": 25, "clear": 40, "for_s": 2, "clear_for_s": 3}}
    )
    assert below.levels == (-1.0, -25.0, -40.0, 2_000_000, 3_000_000, 0, True)
    assert below.source == Source(IndicatorKind.READING, 0, "value")
    assert below.severity is Severity.CRITICAL
    odd = Rule.model_validate({"id": "a", "severity": "info", "anomaly": {"score": 0.9}})
    assert odd.levels.fire < 0.9
    assert odd.source == Source(IndicatorKind.READING, 0, "last")
    silent = Rule.model_validate({"id": "a", "severity": "info", "no_data": {"after_s": 9}})
    assert (silent.source, silent.limit) == (None, 9)
    with pytest.raises(ValueError, match="no levels"):
        _ = silent.levels


def test_the_shipped_file_is_the_default():
    assert load_rules() == load_rules(SHIPPED)
