"""What a call was like as a whole: the row that `call_metrics` gets at its end."""

from __future__ import annotations

from server.db.changes import CallMetricsUpdate
from server.signaling.messages import ClientStats


class _Mean:
    def __init__(self) -> None:
        self.total = 0.0
        self.count = 0

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
    """Aggregates reports of all participants. Averages are over reports, each of the same weight."""

    def __init__(self) -> None:
        self.reconnections = 0
        self.ice_failures = 0
        self.transport_errors = 0
        self.peak = 0
        self._people: set[str] = set()
        self._loss = _Mean()
        self._jitter = _Mean()
        self._rtt = _Mean()
        self._bitrate = _Mean()
        self._sent: dict[str, _Counter] = {}
        self._received: dict[str, _Counter] = {}

    def present(self, participant_ids: list[str]) -> None:
        """Somebody joined: these are here now."""
        self._people.update(participant_ids)
        self.peak = max(self.peak, len(participant_ids))

    def report(self, participant_id: str, stats: ClientStats) -> None:
        self._loss.add(stats.packet_loss)
        self._jitter.add(stats.jitter_ms)
        self._rtt.add(stats.rtt_ms)
        self._bitrate.add(stats.bitrate_kbps)
        self._sent.setdefault(participant_id, _Counter()).report(stats.bytes_sent)
        self._received.setdefault(participant_id, _Counter()).report(stats.bytes_received)

    def change(self, call_id: str, now: float) -> CallMetricsUpdate:
        return CallMetricsUpdate(
            at=now,
            call_id=call_id,
            avg_packet_loss=self._loss.value,
            avg_jitter=self._jitter.value,
            avg_rtt=self._rtt.value,
            avg_bitrate=self._bitrate.value,
            peak_participants=self.peak,
            total_participants=len(self._people),
            reconnections=self.reconnections,
            ice_failures=self.ice_failures,
            transport_errors=self.transport_errors,
            total_data_sent=_sum(self._sent),
            total_data_received=_sum(self._received),
        )


def _sum(counters: dict[str, _Counter]) -> int | None:
    known = [counter.total for counter in counters.values() if counter.known]
    return sum(known) if known else None
