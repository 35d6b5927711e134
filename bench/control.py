"""A control node whose agents are given up sooner, so that keepalives are due while one measures.

python -m bench.control RUN STATE XMPP_PORT BGP_ADDRESS
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from bench.keepalives import XMPP_HOLD_S

from filament.base.net import parse_address
from filament.control.role import run_control
from filament.runtime import log
from filament.runtime.serve import Listen


async def _run(run: str, state: str, xmpp_port: str, bgp: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await run_control(
        name="ctl1",
        api=f"unix:{run}/api.sock",
        xmpp=Listen("127.0.0.1", int(xmpp_port)),
        listens=[Listen(path=f"{run}/control-ctl1.sock")],
        copy=Path(state, "control-ctl1.json"),
        bgp=(parse_address(bgp),),
        hold_time_s=XMPP_HOLD_S,
        stop=stop,
    )


if __name__ == "__main__":
    log.configure(level="info")
    asyncio.run(_run(*sys.argv[1:]))
