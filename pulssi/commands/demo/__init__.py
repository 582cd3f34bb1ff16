"""`pulssi demo`: the whole system with real servers, a simulated city and recorded data"""

from __future__ import annotations

import sys

from pulssi.commands.options import AsJson, Config, Duration


def demo(*, duration_s: Duration = None, as_json: AsJson = False, config: Config = None) -> None:
    """Run everything on this machine until Ctrl-C, or for a time; exit 1 when anything was lost."""
    from pulssi.commands.demo.run import run
    from pulssi.settings import load_settings

    live = not as_json and sys.stdout.isatty()
    sys.exit(run(load_settings(config), duration_s=duration_s, as_json=as_json, live=live))
