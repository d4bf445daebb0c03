"""The window as an object, for tests; what it does is inline in replay.pxd."""

from libc.stdint cimport int64_t, uint16_t


cdef class Window:
    cdef ReplayWindow window

    def index(self, uint16_t sequence) -> int:
        return replay_index(&self.window, sequence)

    def take(self, int64_t index) -> bool:
        if not replay_fresh(&self.window, index):
            return False
        replay_add(&self.window, index)
        return True
