from rtp_core.srtp import SrtpPair

class Bare:
    thread: int
    def __init__(
        self,
        fd: int,
        streams: list[tuple[SrtpPair, list[tuple[int, int, int, bytes]]]],
        *,
        first_ssrc: int,
        gso: bool,
        group: int = 1,
    ) -> None: ...
    def run(self) -> None: ...
    def stop(self) -> None: ...
    @property
    def forwarded(self) -> int: ...
    @property
    def messages(self) -> int: ...
    @property
    def cpu_ns(self) -> int: ...
