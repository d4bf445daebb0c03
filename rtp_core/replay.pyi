class Window:
    """One stream's window against replays (RFC 3711 section 3.3), for tests."""

    def __init__(self) -> None: ...
    def index(self, sequence: int) -> int: ...
    def take(self, index: int) -> bool:
        """False, and nothing changed: seen already, or too old."""
