"""What the media server itself counted in a call, added up over all streams, those that are closed too."""

from __future__ import annotations

from typing import Any

import msgspec

from server.media.api import StreamStats


class Flow(msgspec.Struct):
    """One direction of the SFU's media."""

    packets: int = 0
    bytes: int = 0
    lost: int = 0
    nacks: int = 0
    plis: int = 0
    retransmitted: int = 0
    dropped: int = 0
    jitter_ms: float = 0.0  # summed, each weighted by its packets
    rtt_ms: float = 0.0
    rtt_packets: int = 0

    def add(self, said: StreamStats) -> None:
        self.packets += said.packets
        self.bytes += said.bytes
        self.lost += said.packets_lost
        self.nacks += said.nacks
        self.plis += said.plis
        self.retransmitted += said.retransmitted
        self.dropped += said.dropped
        self.jitter_ms += said.jitter_ms * said.packets
        if said.rtt_ms is not None:
            self.rtt_ms += said.rtt_ms * said.packets
            self.rtt_packets += said.packets

    def figures(self) -> dict[str, Any]:
        """Counters, and means over packets; what nothing is known of is None."""
        expected = self.packets + self.lost
        return {
            "packets": self.packets,
            "bytes": self.bytes,
            "packetsLost": self.lost,
            "packetLoss": round(self.lost / expected, 6) if expected else None,
            "jitterMs": round(self.jitter_ms / self.packets, 3) if self.packets else None,
            "rttMs": round(self.rtt_ms / self.rtt_packets, 3) if self.rtt_packets else None,
            "nacks": self.nacks,
            "plis": self.plis,
            "retransmitted": self.retransmitted,
            "dropped": self.dropped,
        }


class Tally(msgspec.Struct):
    """`received` of producers, `sent` to consumers."""

    received: Flow = msgspec.field(default_factory=Flow)
    sent: Flow = msgspec.field(default_factory=Flow)

    def copy(self) -> Tally:
        return Tally(msgspec.structs.replace(self.received), msgspec.structs.replace(self.sent))

    def figures(self) -> dict[str, Any] | None:
        """For `call_metrics."serverMetrics"`; None if no media went through the SFU."""
        if not (self.received.packets or self.sent.packets):
            return None
        return {"received": self.received.figures(), "sent": self.sent.figures()}
