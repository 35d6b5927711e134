import asyncio

from filament.runtime.clock import now
from filament.runtime.drive import Driver, Turnstile


class Echo:
    """Sends back what it gets, counts a timer, closes on "bye"."""

    def __init__(self):
        self.closed = False
        self.out, self.events, self.timer, self.fired = [], [], None, 0

    def receive_data(self, data, at):
        if not data:
            self.closed = True
            self.events.append("ended")
            return
        self.out.append(data)
        self.events.append(data)
        if data == b"timer":
            self.timer = at + 0.01
        if data.startswith(b"bye"):
            self.closed = True

    def data_to_send(self, at):
        out, self.out = self.out, []
        return out

    def timer_at(self):
        return self.timer

    def handle_timer(self, at):
        assert at >= self.timer - 0.001
        self.timer = None
        self.fired += 1
        self.out.append(b"tick")

    def next_event(self):
        return self.events.pop(0) if self.events else None

    def close(self, reason, at):
        self.closed = True


async def _start(machine, events, **options):
    drivers, done = [], asyncio.Event()

    async def serve(reader, writer):
        driver = Driver(machine, reader, writer, events.append, **options)
        drivers.append(driver)
        await driver.run()
        done.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    return server, reader, writer, drivers, done


async def test_events_output_timers_and_goodbye():
    machine, events = Echo(), []
    server, reader, writer, _, done = await _start(machine, events)
    async with asyncio.timeout(5):
        writer.write(b"timer")
        assert await reader.readexactly(9) == b"timertick"
        writer.write(b"bye")
        assert await reader.read() == b"bye"
        await done.wait()
    assert events == [b"timer", b"bye"]
    assert machine.fired == 1
    writer.close()
    server.close()


class Clockwork(Echo):
    """Moves its timer by each thing it hears: to so many milliseconds from then."""

    def receive_data(self, data, at):
        super().receive_data(data, at)
        if data.isdigit():
            self.timer = at + int(data) / 1000

    def handle_timer(self, at):
        if at >= self.timer:
            super().handle_timer(at)


async def test_a_timer_that_is_moved_goes_off_when_it_says():
    machine, events = Clockwork(), []
    server, reader, writer, _, _ = await _start(machine, events)
    async with asyncio.timeout(5):
        began = now()
        for delay in b"50", b"120":  # later: what was set first comes too early, and does nothing
            writer.write(delay)
            await reader.readexactly(len(delay))
        assert await reader.readexactly(4) == b"tick"
        assert now() - began >= 0.12
        for delay in b"60000", b"20":  # sooner
            writer.write(delay)
            await reader.readexactly(len(delay))
        assert await reader.readexactly(4) == b"tick"
    assert machine.fired == 2
    writer.close()
    server.close()


async def test_last_words_reach_a_peer_that_is_still_sending():
    machine, events = Echo(), []
    server, reader, writer, _, done = await _start(machine, events)
    async with asyncio.timeout(5):
        writer.write(b"bye")
        # More than fits the buffers between us: closing with this unread would be a reset.
        for _ in range(200):
            writer.write(b"x" * 65536)
        assert (await reader.read())[:3] == b"bye"
        writer.transport.abort()
        await done.wait()
    server.close()


async def test_a_goodbye_of_the_owners_ends_the_run():
    machine, events = Echo(), []
    server, reader, writer, drivers, done = await _start(machine, events)
    async with asyncio.timeout(5):
        writer.write(b"x")
        await reader.readexactly(1)
        machine.out.append(b"over")
        machine.close("enough", now())
        drivers[0].flush()
        assert await reader.read() == b"over"
        writer.close()
        await done.wait()
    server.close()


async def test_peer_gone_is_an_end_not_an_error():
    machine, events = Echo(), []
    server, _, writer, _, done = await _start(machine, events)
    writer.transport.abort()
    async with asyncio.timeout(5):
        await done.wait()
    assert events == ["ended"]
    server.close()


async def test_a_peer_that_does_not_read_is_dropped():
    machine, events = Echo(), []
    server, reader, writer, drivers, done = await _start(machine, events, max_queue_bytes=1000)
    writer.write(b"x")
    await reader.readexactly(1)
    started = now()
    async with asyncio.timeout(5):
        while not drivers[0].overflowed:
            machine.out.append(b"z" * 1_000_000)
            drivers[0].flush()
        await done.wait()
    assert now() - started < 5
    writer.close()
    server.close()


async def test_a_turnstile_lets_timers_in_between_portions_of_work():
    turnstile, late, done = Turnstile(0.01), [], []
    loop = asyncio.get_running_loop()

    def tick(due):
        late.append(now() - due)
        loop.call_later(0.005, tick, now() + 0.005)

    async def work():
        await turnstile.enter()
        until = now() + 0.002
        while now() < until:
            pass
        done.append(now())

    tick(now())
    tasks = [asyncio.ensure_future(work()) for _ in range(60)]
    await asyncio.gather(*tasks)
    assert len(done) == 60
    # All of it at once would be 120 ms without a tick; a portion is 10 ms and one piece of work.
    assert len(late) >= 6
    assert sorted(late)[len(late) // 2] < 0.06


async def test_a_turnstile_delays_nobody_who_is_alone():
    turnstile = Turnstile(0.0)
    began = now()
    for _ in range(3):
        await turnstile.enter()
    assert now() - began < 0.05


async def test_a_turnstile_that_is_shut_lets_nobody_in():
    is_shut, entered = True, []
    turnstile = Turnstile(is_shut=lambda: is_shut)

    async def enter():
        await turnstile.enter()
        entered.append(is_shut)

    task = asyncio.ensure_future(enter())
    for _ in range(5):
        await asyncio.sleep(0)
    assert turnstile.is_crowded
    assert not entered
    is_shut = False
    await task
    assert entered == [False]
