/* mediasoup behind lines of JSON over TCP, as a program of its own: one worker, one router, one UDP port.

   node mediasoup_router.mjs HOST PORT        mediasoup is looked for in NODE_PATH

   The worker's id comes first, on a line of its own: {"worker"}. Each connection is one participant with one
   transport, whose objects are mediasoup's own; requests are answered one after another, and those that fail by
   {"error"}:

   {"ask": "transport"}                   {"iceParameters", "iceCandidates", "dtlsParameters"}
   {"ask": "connect", "dtlsParameters"}   {}
   {"ask": "produce", "rtpParameters"}    {}
   {"ask": "consume"}                     {"rtpParameters"}, of the last producer, for one who knows all codecs */

import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';

const mediasoup = createRequire(import.meta.url)('mediasoup'); // unlike `import`, it knows NODE_PATH

const [host, port] = process.argv.slice(2);
const worker = await mediasoup.createWorker({ logLevel: 'error' });
worker.on('died', (error) => {
  console.error(`the worker has died: ${error}`);
  process.exit(1);
});
const webRtcServer = await worker.createWebRtcServer({ listenInfos: [{ protocol: 'udp', ip: host }] });
const router = await worker.createRouter({
  mediaCodecs: [{ kind: 'video', mimeType: 'video/VP8', clockRate: 90000 }],
});
let producer;

const answers = {
  async transport(participant) {
    const transport = await router.createWebRtcTransport({ webRtcServer });
    participant.transport = transport;
    const { iceParameters, iceCandidates, dtlsParameters } = transport;
    return { iceParameters, iceCandidates, dtlsParameters };
  },
  async connect({ transport }, { dtlsParameters }) {
    await transport.connect({ dtlsParameters });
    return {};
  },
  async produce({ transport }, { rtpParameters }) {
    producer = await transport.produce({ kind: 'video', rtpParameters });
    return {};
  },
  async consume({ transport }) {
    const { rtpCapabilities } = router;
    const { rtpParameters } = await transport.consume({ producerId: producer.id, rtpCapabilities });
    return { rtpParameters };
  },
};

async function serve(socket) {
  const participant = {};
  socket.write(`${JSON.stringify({ worker: worker.pid })}\n`);
  for await (const line of createInterface({ input: socket })) {
    let answer;
    try {
      const { ask, ...request } = JSON.parse(line);
      answer = await answers[ask](participant, request);
    } catch (error) {
      answer = { error: String(error) };
    }
    socket.write(`${JSON.stringify(answer)}\n`);
  }
  participant.transport?.close();
}

createServer((socket) => {
  socket.on('error', () => socket.destroy());
  serve(socket).catch((error) => console.error(error));
}).listen(Number(port), host);
