/**
 * The two connections to the SFU (docs/protocol.md, "A call", 2 to 4). Both are up from the join on, in P2P mode too:
 * that is how a blocked port is known before it is needed.
 */
import { Path } from "./paths.js";
import { KIND_OF, SOURCES, Senders, preferCodec } from "./senders.js";

const RESTART_AFTER_MS = 3_000; // disconnected for this long: another network, most likely
const RESTART_AGAIN_MS = 6_000;

/** What both have in common: a state, and ICE restarts while it is down. `onchange` is the call's. */
class Connection {
  #timer = null;

  constructor() {
    this.pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.onchange = () => {};
    this.failures = 0;
    this.pc.onconnectionstatechange = () => this.#changed();
  }

  get state() {
    return this.pc.connectionState;
  }

  get alive() {
    return this.pc.connectionState === "connected";
  }

  get closed() {
    return this.pc.connectionState === "closed";
  }

  /** Looks for a way to the server anew, if it has been lost: after a change of network, say. */
  revive() {
    if (["failed", "disconnected"].includes(this.state)) this.#again();
  }

  close() {
    clearTimeout(this.#timer);
    this.pc.onconnectionstatechange = null;
    this.pc.close();
  }

  #changed() {
    clearTimeout(this.#timer);
    if (this.state === "failed") this.failures += 1;
    if (this.state === "failed" || this.state === "disconnected") {
      this.#timer = setTimeout(() => this.#again(), this.state === "failed" ? 500 : RESTART_AFTER_MS);
    }
    this.onchange();
  }

  async #again() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#again(), RESTART_AGAIN_MS);
    await this.restart().catch(() => {}); // refused or cut: the timer tries again
  }
}

/** The connection that this client sends on. */
export class SfuSend extends Connection {
  #publish;
  #busy;

  /**
   * Begins with an offer of its own, before there is a call: the join takes it along.
   * @param {{publish: (sdp: string) => Promise<{sdp: string}>, preferVideoCodec?: string}} of
   */
  constructor({ publish, preferVideoCodec }) {
    super();
    this.#publish = publish;
    this.senders = new Senders();
    const stream = new MediaStream(); // one stream for microphone and camera: lip sync
    for (const source of SOURCES) {
      const streams = source === "screen" ? [] : [stream];
      const transceiver = this.pc.addTransceiver(KIND_OF[source], { direction: "sendonly", streams });
      if (KIND_OF[source] === "video") preferCodec(transceiver, preferVideoCodec);
      this.senders.bind(source, transceiver.sender);
    }
    /** Resolves when the first offer is made. */
    this.offered = this.pc.setLocalDescription();
    this.#busy = this.offered;
  }

  /** Takes the answer that came with the join; if there was none, publishes, and rejects when the server refuses. */
  start(published) {
    return this.#negotiate(() => {}, published);
  }

  restart() {
    return this.#negotiate(async () => {
      if (this.pc.signalingState === "have-local-offer") await this.pc.setLocalDescription({ type: "rollback" });
      await this.pc.setLocalDescription(await this.pc.createOffer({ iceRestart: true }));
    });
  }

  #negotiate(offer, published = null) {
    const step = async () => {
      if (this.closed) return;
      await offer();
      const { sdp } = published ?? (await this.#publish(this.pc.localDescription.sdp));
      if (!this.closed) await this.pc.setRemoteDescription({ type: "answer", sdp });
    };
    this.#busy = this.#busy.catch(() => {}).then(step);
    return this.#busy;
  }
}

/** The connection that everybody else's media comes in by. */
export class SfuReceive extends Connection {
  #answer;
  #newest = null;
  #busy = false;
  #paths = new Map(); // participant id -> Path

  /**
   * @param {object} of answer({offerId, sdp}), restart() asks the server for an offer with new ICE credentials,
   *   onpaths() when a path came, went or got another track
   */
  constructor({ answer, restart, onpaths }) {
    super();
    this.#answer = answer;
    this.restart = restart;
    this.onpaths = onpaths;
  }

  /** The path of a participant's media, or null. */
  path(participantId) {
    return this.#paths.get(participantId) ?? null;
  }

  /** A newer offer replaces one that has not been begun. */
  async offer(offer) {
    if (this.#newest && offer.offerId <= this.#newest.offerId) return;
    this.#newest = offer;
    if (this.#busy) return;
    this.#busy = true;
    try {
      let done = null;
      while (done !== this.#newest && !this.closed) {
        done = this.#newest;
        await this.#apply(done);
      }
    } finally {
      this.#busy = false;
    }
  }

  async #apply({ offerId, sdp, consumers }) {
    try {
      await this.pc.setRemoteDescription({ type: "offer", sdp });
      this.#route(consumers); // before the answer: whatever comes after it finds its element
      await this.pc.setLocalDescription();
    } catch (error) {
      if (!this.closed) throw error;
      return;
    }
    // Not awaited: the next offer may be applied while the server reads this one. A refused answer is an old one's.
    this.#answer({ offerId, sdp: this.pc.localDescription.sdp }).catch(() => {});
  }

  #route(consumers) {
    const receivers = new Map(this.pc.getTransceivers().map((one) => [one.mid, one.receiver]));
    const present = new Map(); // participant id -> {source: receiver}
    for (const { mid, participantId, source } of consumers) {
      const receiver = receivers.get(mid);
      if (!receiver) continue;
      if (!present.has(participantId)) present.set(participantId, {});
      present.get(participantId)[source] = receiver;
    }
    for (const [participantId, path] of this.#paths) {
      if (present.has(participantId)) continue;
      this.#paths.delete(participantId);
      path.close();
    }
    for (const [participantId, sources] of present) {
      let path = this.#paths.get(participantId);
      if (!path) this.#paths.set(participantId, (path = new Path({ kind: "sfu", participantId, connection: this })));
      for (const source of SOURCES) path.set(source, sources[source] ?? null);
    }
    this.onpaths();
  }

  close() {
    super.close();
    for (const path of this.#paths.values()) path.close();
    this.#paths.clear();
  }
}
