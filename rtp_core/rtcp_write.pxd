"""RTCP packets, written into the caller's buffer. Formats as in `rtcp`.

Each function writes one packet at `out`. The answer is its length in bytes, a multiple of four, or 0 when it
does not fit into `capacity` or a count is out of range; then nothing useful was written. Packets written one
after the other make a compound packet.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from rtp_core.rtcp cimport Dlrr, ReportBlock, SenderInfo

cdef uint32_t rtcp_write_sr(uint8_t* out, uint32_t capacity, uint32_t ssrc, const SenderInfo* info,
                            const ReportBlock* blocks, uint32_t count) noexcept nogil
cdef uint32_t rtcp_write_rr(uint8_t* out, uint32_t capacity, uint32_t ssrc,
                            const ReportBlock* blocks, uint32_t count) noexcept nogil
cdef uint32_t rtcp_write_sdes(uint8_t* out, uint32_t capacity, uint32_t ssrc,
                              const uint8_t* cname, uint32_t cname_len) noexcept nogil
cdef uint32_t rtcp_write_bye(uint8_t* out, uint32_t capacity, const uint32_t* ssrcs, uint32_t count) noexcept nogil
# `seqs` in ascending (wrapping) order pack best, any order is right; `used` tells how many went in.
cdef uint32_t rtcp_write_nack(uint8_t* out, uint32_t capacity, uint32_t sender_ssrc, uint32_t media_ssrc,
                              const uint16_t* seqs, uint32_t count, uint32_t* used) noexcept nogil
cdef uint32_t rtcp_write_pli(uint8_t* out, uint32_t capacity, uint32_t sender_ssrc,
                             uint32_t media_ssrc) noexcept nogil
cdef uint32_t rtcp_write_fir(uint8_t* out, uint32_t capacity, uint32_t sender_ssrc, uint32_t media_ssrc,
                             uint8_t command_seq) noexcept nogil
cdef uint32_t rtcp_write_remb(uint8_t* out, uint32_t capacity, uint32_t sender_ssrc, uint64_t bitrate,
                              const uint32_t* ssrcs, uint32_t count) noexcept nogil
cdef uint32_t rtcp_write_xr_dlrr(uint8_t* out, uint32_t capacity, uint32_t sender_ssrc,
                                 const Dlrr* entries, uint32_t count) noexcept nogil
