/** A path: one participant's media as it comes in by one connection. During a switch a participant has two. */

// A jitter buffer that has just begun knows nothing of the network and runs dry at its first hiccup, when it has just
// become the only one that is heard. So it begins with a reserve, and gives it back once it has learnt.
const AUDIO_RESERVE_MS = 120;
const LEARNT_AFTER_MS = 10_000;

let nextId = 1;

export class Path {
  #receivers = { microphone: null, camera: null, screen: null };

  /** @param {{kind: "p2p" | "sfu", participantId: string, connection: {alive: boolean, pc: RTCPeerConnection}}} of */
  constructor({ kind, participantId, connection }) {
    this.id = nextId++;
    this.kind = kind;
    this.participantId = participantId;
    this.connection = connection;
    this.stream = new MediaStream(); // microphone and camera
    this.screenStream = new MediaStream();
    this.closed = false;
  }

  /** Whether its connection is up. */
  get alive() {
    return !this.closed && this.connection.alive;
  }

  /** @returns {boolean} whether anything changed */
  set(source, receiver) {
    const old = this.#receivers[source];
    if (old === receiver) return false;
    this.#receivers[source] = receiver;
    const stream = source === "screen" ? this.screenStream : this.stream;
    if (old) stream.removeTrack(old.track);
    if (receiver) stream.addTrack(receiver.track);
    if (receiver && source === "microphone") begin(receiver);
    return true;
  }

  has(source) {
    return this.#receivers[source] !== null;
  }

  /** The identifiers of its tracks, as statistics name them. */
  get trackIds() {
    return Object.values(this.#receivers).filter(Boolean).map((receiver) => receiver.track.id);
  }

  /** The connection no longer carries this participant. */
  close() {
    this.closed = true;
  }

  /** How loud the participant is, 0 to 1, as last played out; 0 when nothing was for half a second. */
  level() {
    const source = this.#lastPlayed();
    return source ? (source.audioLevel ?? 0) : 0;
  }

  /** Whether audio packets have been decoded and handed to playout in the last 500 ms. */
  get playsAudio() {
    return this.#lastPlayed() !== null;
  }

  #lastPlayed() {
    const receiver = this.#receivers.microphone;
    const source = receiver && !this.closed ? receiver.getSynchronizationSources()[0] : null;
    return source && performance.timeOrigin + performance.now() - source.timestamp < 500 ? source : null;
  }

  /**
   * What playout has got so far.
   * @returns {Promise<{at: number, samples: number, concealed: number} | null>} `at` in ms of performance.now(), the
   * others in samples at 48 kHz; `concealed` leaves out concealment that was silent, which nobody hears
   */
  async audio() {
    const report = await this.#inbound("microphone");
    if (!report) return null;
    const concealed = (report.concealedSamples ?? 0) - (report.silentConcealedSamples ?? 0);
    return { at: performance.now(), samples: report.totalSamplesReceived ?? 0, concealed };
  }

  /** @returns {Promise<number>} video frames decoded so far, of "camera" or "screen" */
  async framesDecoded(source) {
    return (await this.#inbound(source))?.framesDecoded ?? 0;
  }

  /** The inbound-rtp report of one source, or null. */
  async #inbound(source) {
    const receiver = this.#receivers[source];
    if (!receiver || this.closed) return null;
    try {
      for (const report of (await receiver.getStats()).values()) {
        if (report.type === "inbound-rtp") return report;
      }
    } catch {
      // The connection was closed while we asked.
    }
    return null;
  }
}

function begin(receiver) {
  if (!("jitterBufferTarget" in receiver)) return;
  receiver.jitterBufferTarget = AUDIO_RESERVE_MS;
  setTimeout(() => (receiver.jitterBufferTarget = null), LEARNT_AFTER_MS);
}
