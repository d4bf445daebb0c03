"""A relay of packets built on aiortc, as a program of its own: what Python costs when it touches each packet.

Lines of JSON over TCP: {"role": "publisher", "sdp": offer} is answered, {"role": "subscriber"} gets an offer
and sends {"sdp": answer}. A publisher's RTP goes to each subscriber as it came, but for its SSRC; RTCP ends
here.
"""

from __future__ import annotations

import asyncio
import json
import sys

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.rtcdtlstransport import RTCDtlsTransport

_SSRC = 4_000_000


class Relay:
    def __init__(self) -> None:
        self._connections: list[RTCPeerConnection] = []
        self._outs: list[tuple[RTCDtlsTransport, bytes]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if not line:  # somebody looked whether we listen
            return
        request = json.loads(line)
        connection = RTCPeerConnection()
        self._connections.append(connection)
        if request["role"] == "publisher":
            await connection.setRemoteDescription(RTCSessionDescription(request["sdp"], "offer"))
            await connection.setLocalDescription(await connection.createAnswer())
            transport = connection.getTransceivers()[0].receiver.transport
            setattr(transport, "_handle_rtp_data", self._forward)  # noqa: B010 - no hook is public
            await _say(writer, connection)
        else:
            connection.addTransceiver("video", direction="sendonly")
            await connection.setLocalDescription(await connection.createOffer())
            await _say(writer, connection)
            answer = json.loads(await reader.readline())
            await connection.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
            transport = connection.getTransceivers()[0].sender.transport
            ssrc = _SSRC + len(self._outs)
            self._outs.append((transport, ssrc.to_bytes(4, "big")))

    async def _forward(self, data: bytes, arrival_time_ms: int) -> None:
        for transport, ssrc in self._outs:
            if transport.state == "connected":
                await transport._send_rtp(data[:8] + ssrc + data[12:])


async def _say(writer: asyncio.StreamWriter, connection: RTCPeerConnection) -> None:
    writer.write(json.dumps({"sdp": connection.localDescription.sdp}).encode() + b"\n")
    await writer.drain()


async def main() -> None:
    server = await asyncio.start_server(Relay().serve, sys.argv[1], int(sys.argv[2]), limit=1 << 20)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
