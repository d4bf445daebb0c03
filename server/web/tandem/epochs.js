/**
 * Which path a call is on, and which paths this client must send on: the client's half of docs/protocol.md,
 * "The switch", as plain state. Every handler is synchronous and refuses what is stale, so that whatever awaits
 * elsewhere can compare with this state when it comes back.
 */
import { SOURCES } from "./senders.js";

export class Epochs {
  /** @param {{mode: string, epoch: number}} state a CallState */
  constructor(state) {
    this.mode = state.mode;
    this.epoch = state.epoch; // the newest committed one
    this.pending = null; // EpochPrepare, from prepare until commit or abort
    this.previous = null; // {epoch, from, to, stragglers}: committed, its old path not released yet
    this.p2pEpoch = state.mode === "p2p" ? state.epoch : null; // whose P2P connection is in force
  }

  /** The mode that pairs should be in, or get to. */
  get target() {
    return this.pending?.to ?? this.mode;
  }

  /** The epoch in which a pair that now plays `kind` is to be reported, or null where nobody waits for it. */
  reportFor(kind) {
    if (this.pending) return this.pending.to === kind ? this.pending.epoch : null;
    return this.previous?.to === kind ? this.previous.epoch : null;
  }

  /** @returns {boolean} false if it is stale, or known already */
  prepare(params) {
    if (params.epoch <= this.epoch || (this.pending && params.epoch <= this.pending.epoch)) return false;
    this.pending = params;
    return true;
  }

  commit({ epoch, mode, stragglers = [] }) {
    if (epoch <= this.epoch) return false;
    const from = this.pending?.epoch === epoch ? this.pending.from : this.mode;
    this.pending = null;
    this.epoch = epoch;
    this.mode = mode;
    if (mode === "p2p") this.p2pEpoch = epoch;
    this.previous = { epoch, from, to: mode, stragglers };
    return true;
  }

  /** The old path of `epoch` may go. */
  release({ epoch }) {
    if (this.previous?.epoch !== epoch) return false;
    this.previous = null;
    if (this.mode === "sfu") this.p2pEpoch = null;
    return true;
  }

  abort({ epoch }) {
    if (this.pending?.epoch !== epoch) return false;
    this.pending = null;
    return true;
  }

  /** What `me` sends to the SFU now: a list of sources. */
  sourcesToSfu(me) {
    return this.target === "sfu" || this.mode === "sfu" ? SOURCES : this.#sourcesOnOldPath("sfu", me);
  }

  /** What `me` sends on the P2P connection made for `epoch` now: a list of sources. */
  sourcesOnP2p(epoch, me) {
    if (this.pending?.to === "p2p" && this.pending.epoch === epoch) return SOURCES;
    if (this.p2pEpoch !== epoch) return [];
    return this.mode === "p2p" ? SOURCES : this.#sourcesOnOldPath("p2p", me);
  }

  /** Whether the P2P connection made for `epoch` is still of use. */
  keepsP2p(epoch) {
    return this.p2pEpoch === epoch || (this.pending?.to === "p2p" && this.pending.epoch === epoch);
  }

  /** A switch proper is under way: both paths carry media, so the one that ends is to be sent with fewer bits. */
  get overlapping() {
    return this.pending?.from ? this.pending.from : null;
  }

  /**
   * After the commit a straggler still plays the old path. Nobody else does, but the microphone goes on until the
   * release: it costs next to nothing, and a jitter buffer that runs dry has its browser make up sound in vain.
   */
  #sourcesOnOldPath(kind, me) {
    if (this.previous?.from !== kind) return [];
    return this.previous.stragglers.some((pair) => pair.sender === me) ? SOURCES : ["microphone"];
  }
}
