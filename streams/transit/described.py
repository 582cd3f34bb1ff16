"""described: what the series of vehicles, routes and stops are called"""

from __future__ import annotations

from pulssi.messages import SeriesInfo
from pulssi.quantities import QUANTITIES
from pulssi.series import series_id


def described(device: str, quantity: str, channel: str | None = None) -> SeriesInfo:
    """The description of one series of `veh:<...>`, `route:<...>` or `stop:<stop>:<route>:<direction>`."""
    kind, _, rest = device.partition(":")
    if kind == "stop":
        stop, _, route = rest.partition(":")
        name = f"Stop {stop}, route {route.replace(':', '/')}"
    else:
        name = f"{'Route' if kind == 'route' else 'Vehicle'} {rest.replace(':', '/')}"
    return SeriesInfo(
        series_id=series_id(device, quantity, channel),
        device_id=device,
        quantity=quantity,
        channel=channel,
        unit=QUANTITIES[quantity].unit,
        kind=QUANTITIES[quantity].kind,
        name=name,
    )
