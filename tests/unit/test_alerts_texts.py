from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import alerts
from alerts import texts
from alerts.rules import load_rules
from pulssi.messages import AlertState, AlertTransition, Severity
from pulssi.quantities import QUANTITIES
from pulssi.times import parse_iso_us

NBSP = "\u00a0"
SUMMER = parse_iso_us("2026-07-01T21:05:00Z")
WINTER = parse_iso_us("2026-11-24T07:05:00+02:00")


def transition(**given) -> AlertTransition:
    base = {
        "alert_id": "a",
        "sequence": 0,
        "state": AlertState.FIRING,
        "rule": "r",
        "rule_version": "v",
        "condition": "threshold",
        "severity": Severity.WARNING,
        "series_id": 1,
        "device_id": "fmi-100662",
        "quantity": "pm2_5",
        "kind": "air",
        "onset_time": WINTER,
        "event_time": WINTER,
        "receive_time": WINTER,
        "decided_time": WINTER,
        "value": 63.25,
        "threshold": 50.0,
        "unit": "ug/m3",
        "name": "Kallio 2",
        "district": "11",
    }
    return AlertTransition(**base | given)


@pytest.mark.parametrize(
    ("value", "fi", "en"),
    [
        (7.14, "7,1", "7.1"),
        (40.0, "40", "40"),
        (99.96, "100", "100"),
        (123.6, "124", "124"),
        (12345.6, f"12{NBSP}346", "12,346"),
        (-3.25, "\u22123,2", "-3.2"),
        (-0.04, "0", "0"),
    ],
)
def test_numbers_are_written_as_the_language_does(value, fi, en):
    assert texts.number(value, "fi") == texts.number(value, "sv") == fi
    assert texts.number(value, "en") == en


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7140, "119 min"),
        (7200, "2 h"),
        (7800, "2 h 10 min"),
        (-90, "-90 s"),
    ],
)
def test_lengths_of_time(seconds, text):
    assert texts.duration(seconds, "en").replace(NBSP, " ") == text


def test_times_are_those_of_helsinki_in_summer_and_in_winter():
    assert texts.local_time(SUMMER, "fi") == "2.7.2026 klo 0.05"
    assert texts.local_time(WINTER, "fi") == "24.11.2026 klo 7.05"
    assert texts.local_time(WINTER, "sv") == "24.11.2026 kl. 7.05"
    assert texts.local_time(WINTER, "en") == "24 Nov 2026 07:05"


def test_a_firing_alert_in_three_languages():
    said = texts.render(transition(), {}, below=False)
    assert {language: text.replace(NBSP, " ") for language, text in said.items()} == {
        "fi": "Kallio 2: pienhiukkaset (PM2,5) 63,2 µg/m³ ylittää rajan 50 µg/m³ (24.11.2026 klo 7.05 alkaen).",
        "sv": "Kallio 2: småpartiklar (PM2,5) 63,2 µg/m³ överskrider gränsen 50 µg/m³ (sedan 24.11.2026 kl. 7.05).",
        "en": "Kallio 2: fine particles (PM2.5) 63.2 µg/m³ is above the limit of 50 µg/m³ (since 24 Nov 2026 07:05).",
    }


def test_a_delay_is_a_length_of_time():
    late = transition(quantity="delay", unit="s", value=840.0, threshold=600.0, name="Linja 4400")
    assert "delay 14 min is above the limit of 10 min" in texts.render(late, {}, below=False)["en"].replace(NBSP, " ")


def test_the_sentence_of_a_rule_wins_while_the_alert_fires():
    own = {"en": "{{ place }} in {{ district }}: {{ value }}"}
    assert texts.render(transition(), own, below=False)["en"] == f"Kallio 2 in Kallio: 63.2{NBSP}µg/m³"
    over = transition(state=AlertState.RESOLVED, event_time=WINTER + 3600 * 1_000_000, evidence={"fired": 1})
    assert "is back below the limit" in texts.render(over, own, below=False)["en"]
    assert "It lasted 60" in texts.render(over, own, below=False)["en"]


def test_a_sentence_of_a_rule_that_fails_on_the_values_gives_way_to_the_shipped_one():
    own = {"en": "{{ 1 / (district | length) }}"}
    assert texts.template_problem(own["en"]) is None
    assert "above the limit" in texts.render(transition(district=None), own, below=False)["en"]


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ("{{ place }}", "Kallio 2"),
        ("{x} {{ device }} }{", "{x} fmi-100662 }{"),
        ("{{ place }}{{ place }}\n", "Kallio 2Kallio 2"),
        ("{{ '{' }}{{ place }}{# nothing #}", "{Kallio 2"),
        ("{% if district %}{{ district }}{% endif %}!", "Kallio!"),
        ("{{ place | upper }} {place}", "KALLIO 2 {place}"),
        ("{place.__class__} {0} {}", "{place.__class__} {0} {}"),
        ("", ""),
    ],
)
def test_a_sentence_of_a_rule_is_what_jinja_makes_of_it(own, said):
    assert texts.template_problem(own) is None
    assert texts.render(transition(), {"en": own}, below=False)["en"] == said


def test_braces_in_a_name_stay_what_they_are():
    odd = transition(name="{{ place }} {x}")
    assert texts.render(odd, {"en": "{{ place }}"}, below=False)["en"] == "{{ place }} {x}"


@pytest.mark.parametrize("below", [True, False])
@pytest.mark.parametrize("condition", ["threshold", "anomaly", "no_data"])
@pytest.mark.parametrize("state", [AlertState.PENDING, AlertState.FIRING, AlertState.RESOLVED])
@pytest.mark.parametrize("evidence", [{"fired": 1}, {"fired": 0}, {"fired": 1, "withdrawn": 1}])
def test_every_step_has_words_in_every_language(condition, state, below, evidence):
    if condition == "no_data" and (state is AlertState.PENDING or not evidence["fired"]):
        return  # silence has no hold time
    said = texts.render(transition(condition=condition, state=state, evidence=evidence), {}, below=below)
    assert set(said) == {"fi", "sv", "en"}
    assert len(set(said.values())) == 3
    assert all(text.startswith("Kallio 2: ") and "{" not in text for text in said.values())


def test_every_quantity_has_a_name_in_every_language():
    words = tomllib.loads((Path(alerts.__file__).parent / "data" / "texts.toml").read_text(encoding="utf-8"))
    assert set(words["quantities"]) == set(QUANTITIES)
    assert all(set(names) == {"fi", "sv", "en"} for names in words["quantities"].values())
    assert set(words["units"]) <= {quantity.unit for quantity in QUANTITIES.values()}


def test_a_district_has_its_name_in_the_language():
    assert texts.district_name("01", "fi") == "Kruununhaka"
    assert texts.district_name("01", "sv") == "Kronohagen"
    assert texts.district_name(None, "en") == ""


@pytest.mark.parametrize(
    "text",
    ["{{ x }}", "{{ place", "{% for i in range(10**9) %}x{% endfor %}", "x" * 501, "{{ ''.__class__ }}", "{{ 1/0 }}"],
)
def test_templates_that_cannot_be_trusted_are_told(text):
    assert texts.template_problem(text)


def test_the_shipped_sentences_render():
    for rule in load_rules():
        said = texts.render(transition(condition=rule.condition), rule.texts, below=False)
        assert all(said.values())
