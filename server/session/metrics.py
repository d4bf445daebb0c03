"""What a call is like as a whole: the row of `call_metrics`, written now and then and at the end."""

from __future__ import annotations

from server.db.changes import CallMetricsUpdate
from server.signaling.messages import ClientStats

STORED_EACH_S = 30.0  # while clients report; a crash of the server loses no more than that


class _Mean:
    def __init__(self, before: float | None = None, count: int = 0) -> None:
        self.count = 0 if before is None else count
        self.total = 0.0 if before is None else before * count

    def add(self, value: float | None) -> None:
        if value is not None:
            self.total += value
            self.count += 1

    @property
    def value(self) -> float | None:
        return self.total / self.count if self.count else None


class _Counter:
    """A client's byte counter, summed over restarts: a page that comes back counts from zero again."""

    def __init__(self) -> None:
        self.before = 0
        self.last = 0
        self.known = False

    def report(self, value: int | None) -> None:
        if value is None:
            return
        self.known = True
        if value < self.last:
            self.before += self.last
        self.last = value

    @property
    def total(self) -> int:
        return self.before + self.last


class CallMetrics:
    """Aggregates reports of all participants. Averages are over reports, each of the same weight.

    `before` is what was stored of a call that goes on after its server died.
    """

    def __init__(self, now: float, before: CallMetricsUpdate | None = None) -> None:
        stored = before or CallMetricsUpdate(at=0.0, call_id="")
        counts = stored.reports or {}
        self.reconnections = stored.reconnections
        self.ice_failures = stored.ice_failures
        self.transport_errors = stored.transport_errors
        self.peak = stored.peak_participants or 0
        self._before = stored
        self._due_at = now + STORED_EACH_S
        self._people: set[str] = set()
        self._loss = _Mean(stored.avg_packet_loss, counts.get("packetLoss", 1))
        self._jitter = _Mean(stored.avg_jitter, counts.get("jitter", 1))
        self._rtt = _Mean(stored.avg_rtt, counts.get("rtt", 1))
        self._bitrate = _Mean(stored.avg_bitrate, counts.get("bitrate", 1))
        self._sent: dict[str, _Counter] = {}
        self._received: dict[str, _Counter] = {}

    def joined(self, participant_id: str, present: int) -> None:
        """So many are here now."""
        self._people.add(participant_id)
        self.peak = max(self.peak, present)

    def report(self, participant_id: str, stats: ClientStats) -> None:
        self._loss.add(stats.packet_loss)
        self._jitter.add(stats.jitter_ms)
        self._rtt.add(stats.rtt_ms)
        self._bitrate.add(stats.bitrate_kbps)
        self._sent.setdefault(participant_id, _Counter()).report(stats.bytes_sent)
        self._received.setdefault(participant_id, _Counter()).report(stats.bytes_received)

    def due(self, now: float) -> bool:
        """Whether it is time to store them, asked at each report: once in `STORED_EACH_S`."""
        if now < self._due_at:
            return False
        self._due_at = now + STORED_EACH_S
        return True

    def change(self, call_id: str, now: float) -> CallMetricsUpdate:
        return CallMetricsUpdate(
            at=now,
            call_id=call_id,
            avg_packet_loss=self._loss.value,
            avg_jitter=self._jitter.value,
            avg_rtt=self._rtt.value,
            avg_bitrate=self._bitrate.value,
            peak_participants=self.peak,
            total_participants=max(len(self._people), self._before.total_participants or 0),
            reconnections=self.reconnections,
            ice_failures=self.ice_failures,
            transport_errors=self.transport_errors,
            total_data_sent=_sum(self._sent, self._before.total_data_sent),
            total_data_received=_sum(self._received, self._before.total_data_received),
            reports={
                "packetLoss": self._loss.count,
                "jitter": self._jitter.count,
                "rtt": self._rtt.count,
                "bitrate": self._bitrate.count,
            },
        )


def _sum(counters: dict[str, _Counter], before: int | None) -> int | None:
    known = [counter.total for counter in counters.values() if counter.known]
    if before is not None:
        known.append(before)
    return sum(known) if known else None
