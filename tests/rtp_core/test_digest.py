from __future__ import annotations

import hmac
import zlib

from hypothesis import given
from hypothesis import strategies as st

from rtp_core import digest


@given(st.binary(max_size=200), st.binary(max_size=300), st.binary(max_size=300))
def test_hmac_sha1_and_crc32_against_the_standard_library(key: bytes, a: bytes, b: bytes) -> None:
    assert digest.hmac_sha1_of(key, a, b) == hmac.digest(key, a + b, "sha1")
    assert digest.crc32_of(a + b) == zlib.crc32(a + b)
