"""Memory in huge pages: what each packet reads of a thousand receivers lies on few of them."""

cdef enum:
    HUGE_PAGE = 0x200000  # bytes

# One huge page, zeroed, or as many small ones where the kernel gives none; NULL: no memory.
cdef void* page_take() noexcept nogil
cdef void page_give(void* page) noexcept nogil
