"""Negotiation by SDP of a client's two connections, sans-IO: this is the door for those who drive it."""

from server.rtc.recv import RecvAnswer, RecvNegotiation
from server.rtc.sections import NegotiationError
from server.rtc.send import SendAnswer, SendMedia, SendNegotiation

__all__ = [
    "NegotiationError",
    "RecvAnswer",
    "RecvNegotiation",
    "SendAnswer",
    "SendMedia",
    "SendNegotiation",
]
