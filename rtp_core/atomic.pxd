"""The few atomic operations that the two threads share memory by (C11 orders, GCC and Clang builtins)."""

from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    """
    #ifndef TANDEM_ATOMIC
    #define TANDEM_ATOMIC
    #include <stdint.h>
    static inline uint64_t tdm_load_acquire(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void tdm_store_release(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
    static inline uint64_t tdm_load(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
    static inline uint32_t tdm_exchange32(uint32_t *p, uint32_t v) { return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); }
    static inline uint32_t tdm_or32(uint32_t *p, uint32_t v) { return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST); }
    static inline uint32_t tdm_load32(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
    static inline void tdm_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
    #endif
    """
    uint64_t load_acquire "tdm_load_acquire"(const uint64_t *p) noexcept nogil
    void store_release "tdm_store_release"(uint64_t *p, uint64_t v) noexcept nogil
    uint64_t load_relaxed "tdm_load"(const uint64_t *p) noexcept nogil
    uint32_t exchange32 "tdm_exchange32"(uint32_t *p, uint32_t v) noexcept nogil  # returns what was there
    uint32_t fetch_or32 "tdm_or32"(uint32_t *p, uint32_t v) noexcept nogil  # returns what was there
    uint32_t peek32 "tdm_load32"(const uint32_t *p) noexcept nogil
    void full_fence "tdm_fence"() noexcept nogil
