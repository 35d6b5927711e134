"""Run roles: any number of them in one process, until a signal or the first failure.

A role that fails takes the process down with one line that says why; whoever started it restarts
it. Nothing is cleaned up that a kill -9 would not have left as well.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from filament.app.settings import AgentSettings, Settings, XmppSettings
from filament.base.errors import FilamentError, InputError
from filament.base.net import Address, parse_address, parse_ipv4
from filament.runtime import log
from filament.runtime.serve import parse_listen
from filament.runtime.shared_log import SharedLog
from filament.runtime.tls import MutualTls

Stop = asyncio.Event
Role = Callable[[Settings, Stop], Awaitable[None]]

EXIT_FAILED = 1


async def _run_api(settings: Settings, stop: Stop) -> None:
    from filament.api.role import run_api  # noqa: PLC0415 - only what is run is imported
    from filament.app.protection import api_protection  # noqa: PLC0415

    addresses = (settings.api_socket, *settings.api.listen)
    await run_api(
        database=settings.database,
        store_address=settings.store,
        retain_commits=settings.api.retain_commits,
        listens=[parse_listen(address) for address in addresses],
        stop=stop,
        **api_protection(settings.api),
    )


def _xmpp_tls(settings: XmppSettings) -> MutualTls | None:
    """What agents and control nodes prove themselves by, if they do."""
    if not settings.xmpp_auth_enable:
        return None
    return MutualTls(settings.xmpp_server_cert, settings.xmpp_server_key, settings.xmpp_ca_cert)


async def _run_control(settings: Settings, stop: Stop) -> None:
    from filament.app.protection import read_secret  # noqa: PLC0415
    from filament.client.trust import Trust  # noqa: PLC0415
    from filament.control.role import run_control  # noqa: PLC0415

    await run_control(
        name=settings.control.name,
        api=settings.control.api or settings.api_socket,
        xmpp=parse_listen(settings.control.xmpp),
        bgp=_bgp_addresses(settings),
        listens=[parse_listen(settings.control_socket)],
        introspects=[parse_listen(one) for one in (settings.control.introspect,) if one],
        copy=settings.control_copy,
        stop=stop,
        tls=_xmpp_tls(settings.control),
        trust=Trust(
            token=read_secret(settings.control.api_token, "control.api_token"),
            ca=settings.control.api_ca,
            is_insecure=settings.control.is_api_insecure,
        ),
    )


def _bgp_addresses(settings: Settings) -> tuple[Address, ...]:
    try:
        return tuple(parse_address(text) for text in settings.control.bgp)
    except InputError as error:
        raise InputError(
            "bad-settings",
            f"control.bgp = {list(settings.control.bgp)!r}: {error.message}",
            hint='give addresses to listen on, for example ["0.0.0.0"], or [] for none; the port is'
            " that of the bgp-router",
        ) from error


async def _run_agent(settings: Settings, stop: Stop) -> None:
    from filament.agent.role import AgentPlace, run_agent  # noqa: PLC0415

    told = settings.agent
    for name in ("name", "address", "controls"):
        if not getattr(told, name):
            raise InputError(
                "bad-settings",
                f"the agent is not told its {name}",
                hint=f"give agent.{name} in the settings, or the option of `filament agent`",
            )
    addresses = (settings.agent_socket, told.port_listen)
    place = AgentPlace(
        name=told.name,
        address=parse_ipv4(told.address),
        controls=told.controls,
        underlay=told.underlay,
        state=settings.agent_state,
        pins=settings.pins,
        listens=tuple(parse_listen(address) for address in addresses if address),
        introspects=tuple(parse_listen(one) for one in (told.introspect,) if one),
        tls=_xmpp_tls(told),
        session_log=_session_log(told),
        flow_table=told.flow_table,
        max_vm_flows=told.max_vm_flows,
    )
    await run_agent(place, stop)


def _session_log(told: AgentSettings) -> SharedLog | None:
    if not told.session_log:
        return None
    path = Path(told.session_log)
    if not path.is_absolute():
        raise InputError(
            "bad-settings",
            f"agent.session_log = {told.session_log!r} is no absolute path",
            hint="processes may be started anywhere: write it from /",
        )
    return SharedLog(path, max_bytes=told.session_log_bytes, kept=told.session_log_files)


ROLES: dict[str, Role] = {"api": _run_api, "control": _run_control, "agent": _run_agent}


def serve(settings: Settings, roles: Sequence[str]) -> int:
    """Run roles until SIGTERM or SIGINT (exit code 0) or until one fails (1)."""
    unknown = [role for role in roles if role not in ROLES]
    if unknown or not roles:
        raise InputError(
            "unknown-role",
            f"{unknown[0]!r} is no role" if unknown else "no role to run",
            hint=f"there are: {', '.join(sorted(ROLES))}",
        )
    log.configure(level=settings.log_level)
    return asyncio.run(_run(settings, list(dict.fromkeys(roles))))


async def _run(settings: Settings, roles: Sequence[str]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    failures: list[str] = []

    async def run_one(name: str) -> None:
        try:
            await ROLES[name](settings, stop)
        except* FilamentError as errors:
            failures.append(f"{name} stopped: {'; '.join(_texts(errors))}")
        except* Exception as errors:
            log.logger("app").exception("role-failed", role=name)
            failures.append(f"{name} failed: {'; '.join(_texts(errors))}")
        else:
            if not stop.is_set():
                failures.append(f"{name} ended by itself")
        # The others must not go on as if nothing had happened.
        stop.set()

    async with asyncio.TaskGroup() as tasks:
        for name in roles:
            tasks.create_task(run_one(name))
    for failure in failures:
        print(f"filament: {failure}", file=sys.stderr, flush=True)  # noqa: T201 - for people
    return EXIT_FAILED if failures else 0


def _texts(errors: BaseExceptionGroup[BaseException]) -> list[str]:
    """What the errors of a group say, innermost only."""
    texts = []
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            texts += _texts(error)
        elif isinstance(error, FilamentError):
            texts.append(str(error))
        else:
            texts.append(f"{type(error).__name__}: {error}")
    return texts
