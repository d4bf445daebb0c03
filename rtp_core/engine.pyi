from rtp_core.pipeline import Pipeline

class Engine:
    def __init__(
        self,
        pipeline: Pipeline,
        udp_fds: list[int],
        tcp_fds: list[int],
        *,
        tcp_connections: int = 1024,
        offload: bool = True,
        busy_poll_us: int = 0,
    ) -> None: ...
    def run(self) -> None: ...
    def stop(self) -> None: ...
    @property
    def offload(self) -> tuple[tuple[bool, bool], ...]: ...
    @property
    def tcp_connections(self) -> int: ...

def monotonic_us() -> int: ...
