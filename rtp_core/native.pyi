"""C functions of libsrtp and OpenSSL, out of pylibsrtp's shared object."""

def has_symbol(name: str) -> bool:
    """Whether that object exports a function of this name."""
