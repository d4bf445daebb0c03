"""mediasoup (npm's package): one worker and one router, behind the signaling of mediasoup_router.mjs.

The package is looked for where Node looks for it (NODE_PATH, node_modules above this file) and where
`npm install -g` puts it; its worker where mediasoup itself looks (MEDIASOUP_WORKER_BIN, or in the package).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.load import namespace
from bench.load.endpoint import Endpoint
from bench.load.pin import pin_media
from bench.load.tandem import CAMERA
from bench.peers.lines import Lines, connected, talking
from bench.peers.process import process
from bench.peers.room import Room as AnyRoom
from server.rtc.parameters import DtlsParameters, Fingerprint, IceCandidate, IceParameters
from tests.harness.sdp_client import MID_ID, TRANSPORT_CC_ID, VP8, VP8_RTX

_PORT = 18190
_PROGRAM = Path(__file__).with_name("mediasoup_router.mjs")
_CAMERA = {
    "mid": CAMERA.mid,
    "codecs": [
        {
            "mimeType": "video/VP8",
            "payloadType": VP8,
            "clockRate": 90000,
            "rtcpFeedback": [
                {"type": "nack"},
                {"type": "nack", "parameter": "pli"},
                {"type": "transport-cc"},
            ],
        },
        {
            "mimeType": "video/rtx",
            "payloadType": VP8_RTX,
            "clockRate": 90000,
            "parameters": {"apt": VP8},
        },
    ],
    "headerExtensions": [
        {"uri": "urn:ietf:params:rtp-hdrext:sdes:mid", "id": MID_ID},
        {
            "uri": "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
            "id": TRANSPORT_CC_ID,
        },
    ],
    "encodings": [{"ssrc": CAMERA.ssrc, "rtx": {"ssrc": CAMERA.rtx_ssrc}}],
    "rtcp": {"cname": "bench"},
}


def missing() -> str | None:
    """What has to be installed first, if anything."""
    if shutil.which("node") is None:
        return "mediasoup wants Node.js, which is not installed"
    package = next((place for place in _places() if (place / "mediasoup").is_dir()), None)
    if package is None:
        return "mediasoup is not installed (npm's package; NODE_PATH says where, if not globally)"
    worker = _worker(package / "mediasoup")
    if not os.access(worker, os.X_OK):
        return f"mediasoup has no worker: {worker} (its package downloads or builds it when installed)"
    return None


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[int]:
    """Yields the process id of its worker, which has the first core to itself; Node only signals."""
    paths = os.pathsep.join(str(place) for place in _places())
    command = ["node", str(_PROGRAM), namespace.SERVER, str(_PORT)]
    async with process(command, folder, NODE_PATH=paths), connected(namespace.SERVER, _PORT) as lines:
        worker: int = (await lines.hear())["worker"]
        pin_media(worker)
        yield worker


class Room(AnyRoom):
    async def publish(self, address: str) -> None:
        self.publisher = await self._join(address, ask="produce", rtpParameters=_CAMERA)

    async def subscribe(self, address: str) -> None:
        self.subscribers.append(await self._join(address, ask="consume"))

    async def _join(self, address: str, **media: object) -> Endpoint:
        endpoint = self.endpoint(address)
        lines: Lines = await self.nursery.start(talking, namespace.SERVER, _PORT)
        await lines.hear()  # the worker's id
        theirs = await lines.ask(ask="transport")
        # The DTLS server chooses the SRTP profile: as such we take what Tandem would.
        ours = DtlsParameters([endpoint.certificate.fingerprint("sha-256")], "server")
        await lines.ask(ask="connect", dtlsParameters=ours)
        await lines.ask(**media)
        ice = IceParameters(
            theirs["iceParameters"]["usernameFragment"],
            theirs["iceParameters"]["password"],
            [
                IceCandidate(one["foundation"], one["priority"], one["address"], one["port"], one["protocol"])
                for one in theirs["iceCandidates"]
            ],
        )
        fingerprint = next(
            Fingerprint(one["algorithm"], one["value"])
            for one in theirs["dtlsParameters"]["fingerprints"]
            if one["algorithm"] == "sha-256"
        )
        await endpoint.connect(ice, fingerprint, "server")
        return endpoint


def _places() -> Iterator[Path]:
    """Folders of packages: Node's own order, and last what `npm install -g` fills."""
    yield from (Path(one) for one in os.environ.get("NODE_PATH", "").split(os.pathsep) if one)
    yield from (folder / "node_modules" for folder in _PROGRAM.parents)
    node = shutil.which("node")
    if node is not None:
        yield Path(node).resolve().parents[1] / "lib" / "node_modules"


def _worker(package: Path) -> Path:
    named = os.environ.get("MEDIASOUP_WORKER_BIN")
    return Path(named) if named else package / "worker/out/Release/mediasoup-worker"
