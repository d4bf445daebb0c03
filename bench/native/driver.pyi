from array import array

from rtp_core.srtp import SrtpPair

class Driver:
    def __init__(
        self,
        fd: int,
        pair: SrtpPair,
        receivers: list[tuple[int, SrtpPair]],
        *,
        payload_type: int,
        mid_id: int,
        mid: bytes,
        twcc_id: int,
        ssrc: int,
        room: int = 4_000_000,
    ) -> None: ...
    def run(
        self, seconds: float, *, packets: int, payload: int, window: int = 0, fps: float = 0
    ) -> dict[str, float]: ...
    def latencies(self) -> array[int]: ...
