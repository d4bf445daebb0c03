"""A look-up of an address that is not in the TLB costs 100 ns and more under a hypervisor, and there are some 4,000
places: with small pages, a thousand receivers' objects and keys are more.
"""

from libc.stdint cimport uint8_t, uintptr_t

cdef extern from "sys/mman.h" nogil:
    enum: PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS, MADV_HUGEPAGE
    void* MAP_FAILED
    void* mmap(void* at, size_t size, int protection, int flags, int fd, long offset)
    int munmap(void* at, size_t size)
    int madvise(void* at, size_t size, int advice)


cdef void* page_take() noexcept nogil:
    cdef uint8_t* found = <uint8_t*>mmap(NULL, 2 * HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    cdef size_t before
    if found == MAP_FAILED:
        return NULL
    before = (HUGE_PAGE - <uintptr_t>found % HUGE_PAGE) % HUGE_PAGE
    if before:
        munmap(found, before)
    munmap(found + before + HUGE_PAGE, HUGE_PAGE - before)
    madvise(found + before, HUGE_PAGE, MADV_HUGEPAGE)
    return found + before


cdef void page_give(void* page) noexcept nogil:
    if page != NULL:
        munmap(page, HUGE_PAGE)
