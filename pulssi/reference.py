"""the reference: settings, commands, topics, quantities, flags and reasons, written from the code itself

`python -m pulssi.reference` writes `docs/reference.md`; a test fails when the file and the code disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

from pulssi.cli import app
from pulssi.errors import Reason
from pulssi.frames import INDICATORS, READINGS, VEHICLES, IndicatorKind
from pulssi.metrics import Metrics
from pulssi.quality import EXCLUDED, MEANINGS, Quality
from pulssi.quantities import QUANTITIES
from pulssi.settings import sections
from pulssi.topics import Topics

FILE = Path(__file__).resolve().parents[1] / "docs" / "reference.md"


def render() -> str:
    """The whole reference as Markdown."""
    parts: tuple[tuple[str, Callable[[], Iterator[str]]], ...] = (
        ("Commands", _commands),
        ("Settings", _settings),
        ("Metrics", _metrics),
        ("Topics", _topics),
        ("Records", _records),
        ("Quantities", _quantities),
        ("Quality flags", _flags),
        ("Reasons of refusal", _reasons),
    )
    lines = ["# Reference", "", "Written from the code by `python -m pulssi.reference`; do not edit.", ""]
    for title, body in parts:
        lines += [f"## {title}", "", *body(), ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |"


def _commands() -> Iterator[str]:
    root = typer.main.get_command(app)
    yield "Exit codes: 0 done, 1 failed, 2 wrong settings or arguments (all of them told), 3 another process took over."
    yield ""
    yield from _table(("command", "what it does"), _walk(root, "pulssi"))


def _walk(command: Any, name: str) -> Iterator[tuple[str, str]]:
    children = getattr(command, "commands", None)
    if not children:
        yield f"`{name}`", (command.help or "").partition("\n\n")[0]
        return
    for child in sorted(children):
        yield from _walk(children[child], f"{name} {child}")


def _settings() -> Iterator[str]:
    yield "Each is `PULSSI_<SECTION>__<NAME>` in the environment or `name` under `[section]` in the TOML file."
    yield ""
    for name, section in sections().items():
        yield f"### [{name}]"
        yield ""
        yield (section.__doc__ or "").partition("\n")[0]
        yield ""
        rows = [
            (f"`{key}`", _kind(field.annotation), _default(field.default), field.description)
            for key, field in section.model_fields.items()
        ]
        yield from _table(("name", "type", "default", "meaning"), rows)
        yield ""


def _kind(annotation: Any) -> str:
    inner = [one for one in get_args(annotation) if one not in {type(None), ...}]
    if not inner:
        return "text" if annotation is str else annotation.__name__.lower()
    if get_origin(annotation) is tuple:
        return "list of " + _kind(inner[0])
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{word}`" for word in inner)
    return _kind(inner[0])


def _default(value: Any) -> str:
    if value is None:
        return ""
    return f"`{', '.join(map(str, value)) if isinstance(value, tuple) else value}`"


def _metrics() -> Iterator[str]:
    yield "The same in every process, told apart by the label `component`; served on `/metrics`, see `[metrics]`."
    yield ""
    rows = [(f"`{name}`", kind, ", ".join(labels), text) for name, kind, labels, text in Metrics("reference").contract]
    yield from _table(("metric", "type", "labels", "meaning"), rows)


def _topics() -> Iterator[str]:
    names = {name: getattr(Topics, name).__doc__ for name in vars(Topics) if isinstance(vars(Topics)[name], property)}
    topics = Topics()
    rows = []
    for spec in topics.specs():
        what = names[spec.name.removeprefix(f"{topics.prefix}.")]
        config = ", ".join(f"{key}={value}" for key, value in spec.config.items())
        rows.append((f"`{spec.name}`", spec.partitions, what, config))
    yield from _table(("topic", "partitions", "record", "configuration"), rows)


def _records() -> Iterator[str]:
    for title, schema in (("Readings", READINGS), ("Vehicle events", VEHICLES), ("Indicators", INDICATORS)):
        yield f"**{title}**: " + ", ".join(f"`{field.name}` {field.type}" for field in schema) + "."
        yield ""
    yield "Kinds of indicators: " + ", ".join(f"{kind.value} {kind.name.lower()}" for kind in IndicatorKind) + "."


def _quantities() -> Iterator[str]:
    rows = [
        (f"`{one.name}`", one.unit, one.kind, f"{one.low:g} to {one.high:g}", f"{one.step_max:g}", _hours(one.stuck_s))
        for one in QUANTITIES.values()
    ]
    yield from _table(("quantity", "unit", "kind", "valid range", "largest step", "stuck after"), rows)


def _hours(seconds: float) -> str:
    return "never" if seconds == float("inf") else f"{seconds / 3600:g} h"


def _flags() -> Iterator[str]:
    rows = [
        (f"`{flag.name}`", flag.value, MEANINGS[flag], "yes" if flag in EXCLUDED else "no")
        for flag in Quality.__members__.values()
        if flag
    ]
    yield from _table(("flag", "bit", "meaning", "left out of indicators"), rows)


def _reasons() -> Iterator[str]:
    yield ", ".join(f"`{reason}`" for reason in Reason) + "."


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
