"""Finds C functions in the shared object that pylibsrtp's wheel carries.

The wheel links libsrtp and OpenSSL statically into its CFFI module and, on Linux, exports their symbols: no
headers, no system library and no compiler flags are needed to call them, and the versions are the wheel's.
"""

from importlib.util import find_spec

cdef extern from "dlfcn.h" nogil:
    void* dlopen(const char* path, int flags)
    void* dlsym(void* handle, const char* name)
    char* dlerror()
    enum:
        RTLD_NOW
        RTLD_LOCAL

cdef void* library = NULL


cdef void* opened() except NULL:
    """The handle, opened once and never closed: the pointers we gave out live as long as the process."""
    global library
    if library == NULL:
        import pylibsrtp  # runs srtp_init

        spec = find_spec("pylibsrtp._binding")
        if spec is None or not spec.origin:
            raise ImportError("pylibsrtp has no _binding module to take libsrtp from")
        path = spec.origin.encode()
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL)
        if library == NULL:
            raise ImportError(f"cannot open {spec.origin}: {dlerror().decode(errors='replace')}")
    return library


cdef void* native_symbol(str name) except NULL:
    cdef bytes encoded = name.encode()
    cdef void* symbol = dlsym(opened(), encoded)
    if symbol == NULL:
        raise ImportError(f"pylibsrtp's shared object exports no {name}; the wheel from PyPI does, on Linux")
    return symbol


def has_symbol(name):
    try:
        native_symbol(name)
    except ImportError:
        return False
    return True
