"""What each change of mode cost the clients: the largest gaps that they measured, kept for a while."""

from __future__ import annotations

from collections.abc import Callable

from server.db.changes import TransitionGaps
from server.session.effects import Effect, Persist
from server.session.epoch import Epoch, PairKey
from server.signaling.messages import EpochMeasured, Mode, SwitchReason, SwitchRecorded, Wire

KEPT = 8  # gaps of older switches are no longer taken


class _Record:
    def __init__(self, epoch: Epoch, from_mode: Mode) -> None:
        self.epoch = epoch.number
        self.from_mode = from_mode
        self.to_mode = epoch.to_mode
        self.reason: SwitchReason = epoch.reason
        self.pairs: set[PairKey] = set(epoch.old_path)  # only who played before can have had a gap
        self.duration_s: float | None = None  # None before the commit
        self.max_video_gap_ms: float | None = None
        self.max_audio_gap_ms: float | None = None

    def message(self) -> SwitchRecorded:
        return SwitchRecorded(
            epoch=self.epoch,
            from_mode=self.from_mode,
            to_mode=self.to_mode,
            reason=self.reason,
            duration_ms=round((self.duration_s or 0.0) * 1000),
            max_video_gap_ms=self.max_video_gap_ms,
            max_audio_gap_ms=self.max_audio_gap_ms,
        )


class SwitchRecords:
    def __init__(
        self, call_id: str, emit: Callable[[Effect], None], tell: Callable[[str, Wire], None]
    ) -> None:
        self._call_id = call_id
        self._emit = emit
        self._tell = tell
        self._records: dict[int, _Record] = {}  # by epoch

    def begin(self, epoch: Epoch, from_mode: Mode) -> None:
        self._records[epoch.number] = _Record(epoch, from_mode)
        for old in [number for number in self._records if number <= epoch.number - KEPT]:
            del self._records[old]

    def drop(self, number: int) -> None:
        """The epoch was aborted: nothing has changed, so nothing is recorded."""
        self._records.pop(number, None)

    def commit(self, number: int, duration_s: float, now: float) -> None:
        """The switch itself is stored by the caller; gaps that were measured before follow it."""
        record = self._records[number]
        record.duration_s = duration_s
        self._record(record, now)

    def measured(self, receiver: str, said: EpochMeasured, now: float) -> None:
        """What one client measured for one pair; only what is larger than before is news."""
        record = self._records.get(said.epoch)
        if record is None or (receiver, said.participant_id) not in record.pairs:
            return
        video = _larger(record.max_video_gap_ms, said.max_video_gap_ms)
        audio = _larger(record.max_audio_gap_ms, said.max_audio_gap_ms)
        if (video, audio) == (record.max_video_gap_ms, record.max_audio_gap_ms):
            return
        record.max_video_gap_ms, record.max_audio_gap_ms = video, audio
        if record.duration_s is not None:
            self._record(record, now)

    def _record(self, record: _Record, now: float) -> None:
        if (record.max_video_gap_ms, record.max_audio_gap_ms) != (None, None):
            gaps = TransitionGaps(
                at=now,
                call_id=self._call_id,
                epoch=record.epoch,
                max_video_gap_ms=record.max_video_gap_ms,
                max_audio_gap_ms=record.max_audio_gap_ms,
            )
            self._emit(Persist(gaps))
        self._tell("switch.recorded", record.message())


def _larger(known: float | None, said: float | None) -> float | None:
    if known is None or said is None:
        return said if known is None else known
    return max(known, said)
