/**
 * The direct connection to the other participant, made anew for every epoch to P2P (docs/protocol.md, "A call", 5).
 *
 * Three sendrecv m-lines in the order of SOURCES; everything later is replaceTrack. A signal that comes twice or too
 * late is dropped: the relay may repeat one after a resume.
 */
import { Path } from "./paths.js";
import { KIND_OF, SOURCES, Senders, preferCodec } from "./senders.js";

const CONNECT_TIMEOUT_MS = 4_500; // below the server's own, so that the cause is told and not just lateness
const DISCONNECTED_MS = 2_000;

export class P2pConnection {
  #options;
  #work = Promise.resolve();
  #candidates = [];
  #connecting = null; // timers
  #silence = null;
  #stream = new MediaStream(); // ties microphone and camera together for lip sync
  #found = 0;

  /**
   * @param {object} options epoch, peer (participant id), offers (boolean), iceServers, preferVideoCodec,
   *   signal({description} | {candidate}), onchange(), onfailed(detail)
   */
  constructor(options) {
    this.#options = options;
    this.epoch = options.epoch;
    this.peer = options.peer;
    this.senders = new Senders();
    this.pc = new RTCPeerConnection({ iceServers: options.iceServers, bundlePolicy: "max-bundle" });
    this.path = new Path({ kind: "p2p", participantId: options.peer, connection: this });
    this.failed = false;
    this.legacy = false;
    this.pc.onicecandidate = ({ candidate }) => this.#candidateFound(candidate);
    this.pc.onconnectionstatechange = () => this.#changed();
    this.pc.oniceconnectionstatechange = () => this.#changed();
    this.#connecting = setTimeout(() => this.#fail("no connection in time"), CONNECT_TIMEOUT_MS);
    if (options.offers) this.#enqueue(() => this.#offer());
  }

  get alive() {
    return this.pc.connectionState === "connected";
  }

  get closed() {
    return this.pc.connectionState === "closed";
  }

  /**
   * The call that it was made for is forgotten by the server, but its media flows: from now on it only reports its end.
   * @param {() => void} onended
   */
  retire(onended) {
    this.#stopTimers();
    this.legacy = true;
    this.pc.onicecandidate = null;
    this.#options = { ...this.#options, signal() {}, onchange: () => this.closed && onended(), onfailed: onended };
  }

  /** A relayed signal of the other side: {description} or {candidate}. */
  signalled({ description, candidate }) {
    if (description) this.#enqueue(() => this.#described(description));
    else if (candidate) this.#enqueue(() => this.#candidate(candidate));
  }

  close() {
    this.#stopTimers();
    this.pc.onicecandidate = this.pc.onconnectionstatechange = this.pc.oniceconnectionstatechange = null;
    this.pc.close();
    this.path.close();
  }

  #enqueue(step) {
    this.#work = this.#work.then(async () => {
      if (this.closed) return;
      try {
        await step();
      } catch (error) {
        if (!this.closed) this.#fail(`${error.name}: ${error.message}`);
      }
    });
  }

  async #offer() {
    for (const source of SOURCES) {
      const streams = source === "screen" ? [] : [this.#stream];
      const transceiver = this.pc.addTransceiver(KIND_OF[source], { direction: "sendrecv", streams });
      if (KIND_OF[source] === "video") preferCodec(transceiver, this.#options.preferVideoCodec);
      this.#bind(source, transceiver);
    }
    this.#options.onchange();
    await this.pc.setLocalDescription();
    this.#describe();
  }

  async #described(description) {
    const expected = this.#options.offers ? "have-local-offer" : "stable";
    if (this.pc.signalingState !== expected || this.pc.remoteDescription) return;
    await this.pc.setRemoteDescription(description);
    for (const candidate of this.#candidates.splice(0)) await this.#candidate(candidate);
    if (this.#options.offers) return;
    const transceivers = this.pc.getTransceivers();
    SOURCES.forEach((source, index) => {
      const transceiver = transceivers[index];
      if (transceiver?.receiver.track.kind !== KIND_OF[source]) throw new TypeError("the offer's m-lines are not ours");
      transceiver.direction = "sendrecv";
      if (source !== "screen") transceiver.sender.setStreams?.(this.#stream);
      this.#bind(source, transceiver);
    });
    this.#options.onchange();
    await this.pc.setLocalDescription();
    this.#describe();
  }

  #bind(source, transceiver) {
    this.senders.bind(source, transceiver.sender);
    this.path.set(source, transceiver.receiver);
  }

  #describe() {
    const { type, sdp } = this.pc.localDescription;
    this.#options.signal({ description: { type, sdp } });
  }

  async #candidate(candidate) {
    if (!this.pc.remoteDescription) {
      this.#candidates.push(candidate);
      return;
    }
    try {
      await this.pc.addIceCandidate(candidate);
    } catch {
      // One that this browser cannot use (an mDNS name, a scope it does not know) costs only itself.
    }
  }

  #candidateFound(candidate) {
    if (!candidate?.candidate) return; // the end of candidates is not needed for anything
    this.#found += 1;
    this.#options.signal({ candidate: candidate.toJSON() });
  }

  #changed() {
    const { connectionState, iceConnectionState } = this.pc;
    clearTimeout(this.#silence);
    if (this.alive) clearTimeout(this.#connecting);
    if (connectionState === "failed" || iceConnectionState === "failed") {
      this.#fail(`${connectionState} after ${this.#found} candidates`);
    } else if (iceConnectionState === "disconnected") {
      this.#silence = setTimeout(() => this.#fail("nothing was heard for too long"), DISCONNECTED_MS);
    }
    this.#options.onchange();
  }

  #stopTimers() {
    clearTimeout(this.#connecting);
    clearTimeout(this.#silence);
  }

  #fail(detail) {
    this.#stopTimers();
    if (this.failed || this.closed) return;
    this.failed = true;
    this.#options.onfailed(detail);
  }
}
