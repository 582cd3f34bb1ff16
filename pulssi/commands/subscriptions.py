"""`pulssi subscriptions`: who is told of which alerts; `pulssi webhook-echo`: a subscriber in small"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from pulssi.commands.options import AsJson, Config
from pulssi.errors import ConfigurationError
from pulssi.settings import load_settings

if TYPE_CHECKING:
    from storage.outbox import Subscription

app = typer.Typer(help="Who is told of which alerts.", no_args_is_help=True)

SecretFile = Annotated[Path | None, typer.Option("--secret-file", help="File with the key of the signatures.")]
Many = list[str] | None


@app.command()
def add(
    *,
    target: Annotated[str, typer.Option(help="Address of the webhook.")],
    district: Annotated[Many, typer.Option(help="Code of a district, such as 04; may be repeated.")] = None,
    quantity: Annotated[Many, typer.Option(help="A quantity, such as no2; may be repeated.")] = None,
    kind: Annotated[Many, typer.Option(help="air, weather, noise, traffic, transit; may be repeated.")] = None,
    device: Annotated[Many, typer.Option(help="A device id; may be repeated.")] = None,
    severity: Annotated[str, typer.Option(help="Least severity: info, warning, critical.")] = "info",
    language: Annotated[str, typer.Option(help="Language of the texts: fi, sv, en.")] = "fi",
    secret_file: SecretFile = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Subscribe a webhook; without --secret-file a new secret is made and shown this once."""
    from alerts.subscriptions import new_secret, wanted
    from storage.database import connect
    from storage.outbox import subscribe

    settings = load_settings(config)
    secret = _read(secret_file) if secret_file else new_secret()
    new = wanted(
        target,
        secret,
        districts=district or (),
        quantities=quantity or (),
        kinds=kind or (),
        devices=device or (),
        severity=severity,
        language=language,
        allow_private=settings.notify.allow_private_targets,
    )
    with connect(settings.database, "writer") as connection:
        stored = subscribe(connection, new)
    shown = _shown(stored) | ({} if secret_file else {"secret": secret})
    typer.echo(json.dumps(shown) if as_json else "\n".join(f"{name}: {value}" for name, value in shown.items()))


@app.command("list")
def list_(*, config: Config = None, as_json: AsJson = False) -> None:
    """Show every subscription, without its secret."""
    from storage.database import connect
    from storage.outbox import subscriptions

    with connect(load_settings(config).database, "writer") as connection:
        found = [_shown(one) for one in subscriptions(connection)]
    if as_json:
        typer.echo(json.dumps(found))
        return
    for one in found:
        filters = "; ".join(f"{name} {', '.join(one[name])}" for name in _FILTERS if one[name]) or "everything"
        state = "" if one["active"] else " (not active)"
        typer.echo(
            f"{one['subscription_id']}{state}  {one['severity']}+ {one['language']}  {filters}  -> {one['target']}"
        )
    if not found:
        typer.echo("no subscriptions")


@app.command()
def log(
    *,
    limit: Annotated[int, typer.Option(help="How many attempts.")] = 20,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show how many notifications wait, are delivered or given up, and the newest attempts."""
    from storage.database import connect
    from storage.outbox import counts, deliveries

    with connect(load_settings(config).database, "writer") as connection:
        total, attempts = asdict(counts(connection)), [asdict(one) for one in deliveries(connection, limit)]
    for one in attempts:
        one["time"] = one["time"].isoformat()
    if as_json:
        typer.echo(json.dumps({**total, "attempts": attempts}))
        return
    typer.echo(", ".join(f"{n} {state}" for state, n in total.items()))
    for one in attempts:
        came = one["status"] or one["error"]
        typer.echo(
            f"{one['time']}  {one['notification_id']}  attempt {one['attempt']}: {came} ({one['duration_ms']} ms)"
        )


@app.command()
def remove(subscription_id: UUID, *, config: Config = None) -> None:
    """Delete a subscription with all its notifications; exit 1 when there is none of that id."""
    from storage.database import connect
    from storage.outbox import unsubscribe

    with connect(load_settings(config).database, "writer") as connection:
        gone = unsubscribe(connection, subscription_id)
    typer.echo("removed" if gone else "there is no such subscription", err=not gone)
    if not gone:
        raise typer.Exit(1)


def webhook_echo(
    *,
    secret_file: Annotated[Path, typer.Option("--secret-file", help="File with the key of the signatures.")],
    port: Annotated[int, typer.Option(help="Port to listen on; 0 = any free one.")] = 8090,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Receive webhooks, check their signatures, print one JSON line for each."""
    from alerts.receiver import serve

    serve(host, port, _read(secret_file))


_FILTERS = ("districts", "quantities", "kinds", "devices")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"secret_file: {error}") from error


def _shown(subscription: Subscription) -> dict[str, Any]:
    """A subscription for a person or a machine, without its secret."""
    from pulssi.messages import Severity

    return {
        "subscription_id": str(subscription.subscription_id),
        "active": subscription.active,
        "created_time": subscription.created_time.isoformat(),
        "severity": list(Severity)[subscription.severity_min].value,
        "language": subscription.language,
        **{name: getattr(subscription, name) for name in _FILTERS},
        "target": subscription.target,
    }
