"""subscriptions: what somebody may ask for, checked before it is stored"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Sequence

from alerts.targets import TargetError, parse
from alerts.texts import LANGUAGES
from pulssi.errors import ConfigurationError
from pulssi.geography import districts as all_districts
from pulssi.messages import Severity
from pulssi.quantities import QUANTITIES, Kind
from pulssi.series import is_device_id
from storage.outbox import NewSubscription

SECRET_PREFIX = "whsec_"  # noqa: S105  how every such secret begins
_SECRET_BYTES = (24, 64)


def new_secret() -> str:
    """A fresh key for signatures, as the Standard Webhooks scheme writes it."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES[0])).decode()


def wanted(
    target: str,
    secret: str,
    *,
    districts: Sequence[str] = (),
    quantities: Sequence[str] = (),
    kinds: Sequence[str] = (),
    devices: Sequence[str] = (),
    severity: str = Severity.INFO,
    language: str = "fi",
    allow_private: bool = False,
) -> NewSubscription:
    """A subscription to store; an empty filter means all.

    Raises:
        ConfigurationError: everything that is wrong with it.
    """
    codes = {district.code for district in all_districts()}
    problems = [f"there is no district {code!r}" for code in districts if code not in codes]
    problems += [f"there is no quantity {word!r}" for word in quantities if word not in QUANTITIES]
    problems += [f"there is no kind {word!r}; known are {', '.join(Kind)}" for word in kinds if word not in set(Kind)]
    problems += [f"{device!r} is no device id" for device in devices if not is_device_id(device)]
    if severity not in set(Severity):
        problems.append(f"there is no severity {severity!r}; known are {', '.join(Severity)}")
    if language not in LANGUAGES:
        problems.append(f"there is no language {language!r}; known are {', '.join(LANGUAGES)}")
    try:
        parse(target, allow_private=allow_private)
    except TargetError as error:
        problems.append(f"target: {error}")
    problems += _problems_of_secret(secret)
    if problems:
        raise ConfigurationError(problems)
    return NewSubscription(
        target=target,
        secret=secret,
        districts=list(districts) or None,
        quantities=list(quantities) or None,
        kinds=list(kinds) or None,
        devices=list(devices) or None,
        severity_min=list(Severity).index(Severity(severity)),
        language=language,
    )


def _problems_of_secret(secret: str) -> list[str]:
    """The scheme asks for 24 to 64 random bytes in base64 behind `whsec_`."""
    low, high = _SECRET_BYTES
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if secret.startswith(SECRET_PREFIX) and low <= len(key) <= high:
        return []
    return [f"secret: must be {SECRET_PREFIX} and {low} to {high} bytes in base64"]
