"""The window of concurrent batches starts at 5, grows 300 a minute under pressure and yields to throttles."""

from eventrt.core.queue import Invoke, QueueMachine, QueuePolicy, Receive, Settle, Wait
from eventrt.core.records import Batch, Record, Succeeded, Throttled
from eventrt.core.scaling import ConcurrencyWindow


class Endless:
    """A queue that never runs dry, and a machine over it on virtual time."""

    def __init__(self, policy: QueuePolicy) -> None:
        self.machine = QueueMachine(policy)
        self.now = 0.0
        self.number = 0
        self.running: list[tuple[float, Batch]] = []
        self.room = 10_000

    def run(self, until: float, *, takes_s: float) -> None:
        """Drive the machine until a moment; each batch takes so long."""
        while True:
            match self.machine.next_action(now=self.now):
                case Receive(limit):
                    self.number += limit
                    records = [Record(str(self.number + i), {}, 0.0, 10) for i in range(limit)]
                    self.machine.feed(records, now=self.now, leased_until=self.now + 1e6)
                case Invoke(batch):
                    if len(self.running) >= self.room:
                        self.machine.invoked(batch, Throttled("no room"), now=self.now)
                    else:
                        self.running.append((self.now + takes_s, batch))
                case Settle() as settle:
                    self.machine.settled(settle)
                case Wait(moment):
                    moments = [end for end, _ in self.running] + ([moment] if moment is not None else [])
                    if min(moments, default=until) >= until:
                        self.now = until
                        return
                    self.now = max(self.now, min(moments))
            for ended in [flight for flight in self.running if flight[0] <= self.now]:
                self.running.remove(ended)
                self.machine.invoked(ended[1], Succeeded(b"null"), now=self.now)


def test_it_starts_with_five_and_grows_by_five_a_second_under_pressure() -> None:
    world = Endless(QueuePolicy())
    world.run(0.1, takes_s=100)
    assert len(world.running) == 5
    world.run(10.05, takes_s=100)
    assert 54 <= len(world.running) <= 56
    world.run(60.05, takes_s=100)
    assert 303 <= len(world.running) <= 306


def test_it_grows_although_slots_are_given_back_all_the_time() -> None:
    world = Endless(QueuePolicy())
    world.run(10, takes_s=1)
    assert world.machine.window.size > 40


def test_batches_that_are_over_at_once_do_not_make_it_grow() -> None:
    world = Endless(QueuePolicy())
    world.run(5, takes_s=0.002)
    assert world.machine.window.size <= 10
    before = world.machine.window.size
    world.run(10, takes_s=0.002)
    assert world.machine.window.size == before
    world.run(20, takes_s=1)
    assert world.machine.window.size > before + 20, "slow ones did not make it grow again"


def test_it_stops_at_its_limit() -> None:
    world = Endless(QueuePolicy(most_concurrency=12))
    world.run(100, takes_s=1000)
    assert len(world.running) == 12
    world = Endless(QueuePolicy())
    world.run(400, takes_s=1000)
    assert len(world.running) == 1250


def test_throttled_it_finds_the_room_there_is() -> None:
    world = Endless(QueuePolicy())
    world.room = 3
    world.run(1, takes_s=0.5)
    assert world.machine.window.size == 3
    world.run(60, takes_s=0.5)
    assert 3 <= world.machine.window.size <= 4
    world.room = 100
    world.run(80, takes_s=0.5)
    assert world.machine.window.size > 50


def test_without_pressure_it_goes_back_to_where_it_began() -> None:
    window = ConcurrencyWindow()
    window.press(0)
    window.press(10)
    assert window.size == 55
    window.relax(20)
    window.relax(79)
    assert window.size == 55
    window.relax(80)
    assert window.size == 5
    window.throttle(90, running=1)
    assert window.size == 1
    window.relax(100)
    window.relax(160)
    assert window.size == 5


def test_new_bounds_hold_at_once() -> None:
    window = ConcurrencyWindow()
    window.press(0)
    window.press(10)
    window.rebound(5, 20)
    assert window.size == 20
    window.rebound(30, 100)
    assert window.size == 30
