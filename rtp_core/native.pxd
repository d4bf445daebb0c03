"""Finds C functions in the shared object that pylibsrtp's wheel carries: libsrtp, and the OpenSSL inside it."""

# The address of a function of that object. ImportError when it is not exported. Needs the GIL; call it when a
# module is imported and keep the pointer.
cdef void* native_symbol(str name) except NULL
