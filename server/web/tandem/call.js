/**
 * One call that this client is in: its connections, its participants, and the switch between paths.
 *
 * Notifications are handled synchronously: each one changes `epochs` and the sets of connections, and `#settle` makes
 * everything else follow (who is sent to, what is seen). Nothing that awaits decides anything afterwards.
 */
import { Epochs } from "./epochs.js";
import { P2pConnection } from "./p2p.js";
import { Remote } from "./remote.js";
import { SOURCES } from "./senders.js";
import { SfuReceive } from "./sfu.js";

const PORT_BLOCKED_MS = 7_000;
const OVERLAP_CAP_BPS = 400_000; // of the path that is about to end, while both are sent
const ORPHAN_MS = 30_000; // how long media of a call that the server has forgotten is kept
const P2P_CAMERA_BPS = 2_500_000;
const SFU_CAMERA_BPS = [[3, 1_500_000], [6, 800_000], [Infinity, 400_000]]; // by participants present
const SCREEN_BPS = 2_500_000;

export class Call {
  #session;
  #media;
  #options;
  #hooks;
  #p2p = new Map(); // epoch -> P2pConnection
  #legacy = []; // P2P connections of the call that the server has forgotten
  #orphans = new Map(); // participants of that call, not seen in this one yet
  #measurable = new Set(); // epochs that are switches: their gaps are wanted
  #timers = new Set();

  /**
   * @param {object} of session, media: LocalMedia, options: {renderer, preferVideoCodec}, state: CallState,
   *   send: SfuSend that is being published, published: the promise of that,
   *   before: the Call that this one continues after a restart of the server (or null),
   *   hooks: {change(), blocked(ports | null), problem(error), measured(result)}
   */
  constructor({ session, media, options, state, send, published, before, hooks }) {
    this.#session = session;
    this.#media = media;
    this.#options = options;
    this.#hooks = hooks;
    this.id = state.callId;
    this.roomId = state.roomId;
    this.me = state.participantId;
    this.remotes = new Map();
    this.switches = [];
    this.speaker = null;
    this.iceFailures = 0;
    this.protocol = null;
    this.epochs = new Epochs(state);
    this.send = send;
    this.receive = new SfuReceive({
      answer: (params) => session.request("sfu.answer", params),
      restart: () => session.request("sfu.restart"),
      onpaths: () => this.#settle(),
    });
    this.send.onchange = this.receive.onchange = () => this.#transportChanged();
    if (before) this.#adopt(before);
    this.#load(state);
    published.then(() => this.#settle(), (error) => this.#trouble(error));
    this.#later(PORT_BLOCKED_MS, () => this.#checkPorts(true));
  }

  /** Takes over a CallState after notifications were lost. */
  rebuild(state) {
    if (state.epoch > this.epochs.epoch || state.mode !== this.epochs.mode) this.epochs = new Epochs(state);
    this.epochs.pending = null;
    this.#load(state);
    if (this.epochs.mode === "p2p" && this.epochs.epoch > 0 && !this.#p2p.has(this.epochs.epoch)) {
      for (const id of this.remotes.keys()) this.#p2pFailed(id, this.epochs.epoch, "the connection was missed");
    }
  }

  /** A notification of this call. @returns {boolean} whether it was one */
  handle(method, params) {
    const handler = HANDLERS[method];
    if (!handler) return false;
    handler.call(this, params);
    return true;
  }

  /** The server can be reached again: what was lost with it is looked for at once. */
  revive() {
    this.send.revive();
    this.receive.revive();
  }

  /** The local tracks have changed. */
  tracksChanged() {
    this.#settle();
  }

  /** Everything that carries media now, for statistics. */
  get connections() {
    return [this.send, this.receive, ...this.#p2p.values(), ...this.#legacy];
  }

  /** "p2p", "sfu-udp", "sfu-tcp" or "none": how this client's media goes. */
  get pathName() {
    if (this.epochs.mode === "p2p") return [...this.#p2p.values()].some((one) => one.alive) ? "p2p" : "none";
    return this.send.alive ? `sfu-${this.protocol ?? "udp"}` : "none";
  }

  /** Participants to show: those of the call, and those of the forgotten one whose media still flows. */
  get shown() {
    return [...this.remotes.values(), ...this.#orphans.values()];
  }

  isOrphan(remote) {
    return this.#orphans.get(remote.id) === remote;
  }

  close() {
    for (const timer of this.#timers) clearTimeout(timer);
    for (const connection of this.connections) connection.close();
    for (const remote of this.shown) remote.close();
    this.remotes.clear();
    this.#orphans.clear();
    this.#p2p.clear();
    this.#legacy = [];
    this.#hooks.blocked(null);
  }

  // ---- what makes everything follow -----------------------------------------------------------------------------

  #settle() {
    this.#settleConnections();
    this.#settleSending();
    for (const remote of this.shown) remote.reconcile(this.#pathsOf(remote), this.epochs);
    this.#hooks.change();
  }

  #settleConnections() {
    for (const [epoch, connection] of this.#p2p) {
      if (this.epochs.keepsP2p(epoch)) continue;
      connection.close();
      this.#p2p.delete(epoch);
    }
  }

  #settleSending() {
    const { tracks } = this.#media;
    const ending = this.epochs.overlapping;
    const limit = SFU_CAMERA_BPS.find(([most]) => this.remotes.size + 1 <= most)[1];
    this.send.senders.want(tracks, this.epochs.sourcesToSfu(this.me));
    this.send.senders.limit({ camera: limit, screen: SCREEN_BPS });
    this.send.senders.cap(ending === "sfu" ? OVERLAP_CAP_BPS : null);
    for (const [epoch, { senders }] of this.#p2p) {
      senders.want(tracks, this.epochs.sourcesOnP2p(epoch, this.me));
      senders.limit({ camera: P2P_CAMERA_BPS, screen: SCREEN_BPS });
      senders.cap(ending === "p2p" && epoch === this.epochs.p2pEpoch ? OVERLAP_CAP_BPS : null);
    }
    for (const { senders } of this.#legacy) senders.want(tracks, SOURCES);
  }

  #pathsOf(remote) {
    const direct = [...this.#p2p.values()].filter((one) => one.peer === remote.id).sort((a, b) => b.epoch - a.epoch);
    const legacy = this.#legacy.filter((one) => one.path.participantId === remote.id);
    const forwarded = this.receive.path(remote.id);
    return [...direct, ...legacy].map((one) => one.path).concat(forwarded ?? []);
  }

  #load(state) {
    this.status = state.status;
    this.callType = state.callType;
    this.media = state.media;
    this.policy = state.policy;
    this.captions = state.captions ?? "off";
    this.startedAt = state.startedAt;
    const present = new Set(state.participants.map((info) => info.participantId));
    for (const id of [...this.remotes.keys()]) if (!present.has(id)) this.#remove(id);
    for (const info of state.participants) this.#upsert(info);
    if (state.pendingEpoch) this.#prepare(state.pendingEpoch);
    if (state.pendingOffer) this.#offered(state.pendingOffer);
    this.#settle();
  }

  // ---- participants ---------------------------------------------------------------------------------------------

  #upsert(info) {
    if (info.participantId === this.me) {
      this.self = info;
      return;
    }
    let remote = this.remotes.get(info.participantId);
    if (!remote) remote = this.#orphanLike(info) ?? this.#newRemote(info);
    this.remotes.set(info.participantId, remote);
    remote.update(info);
  }

  #newRemote(info) {
    const remote = new Remote(info, this.#options.renderer);
    remote.moveTo(this.#remoteHooks());
    return remote;
  }

  #remoteHooks() {
    return {
      swapped: (remote, epoch) => this.#swapped(remote, epoch),
      measured: (remote, epoch, gaps) => this.#measured(remote, epoch, gaps),
    };
  }

  #remove(id) {
    this.remotes.get(id)?.close();
    this.remotes.delete(id);
    if (this.speaker === id) this.speaker = null;
  }

  // ---- the switch -----------------------------------------------------------------------------------------------

  #prepare(params) {
    if (!this.epochs.prepare(params)) return;
    if (params.from) this.#measurable.add(params.epoch);
    for (const remote of this.remotes.values()) remote.prepared();
    if (params.to === "p2p") this.#connect(params);
  }

  #connect({ epoch, participants, offerer }) {
    const peer = participants.find((id) => id !== this.me);
    if (!peer || this.#p2p.has(epoch)) return;
    const connection = new P2pConnection({
      epoch,
      peer,
      offers: offerer === this.me,
      iceServers: this.#session.result.iceServers,
      preferVideoCodec: this.#options.preferVideoCodec,
      signal: (signal) => this.#session.request("p2p.signal", { to: peer, epoch, ...signal }).catch(() => {}),
      onchange: () => this.#settle(),
      onfailed: (detail) => this.#p2pFailed(peer, epoch, detail),
    });
    this.#p2p.set(epoch, connection);
  }

  #p2pFailed(participantId, epoch, detail) {
    this.iceFailures += 1;
    const params = { participantId, epoch, detail: detail.slice(0, 256) };
    this.#session.request("p2p.failed", params).catch(() => {}); // too late, or said by the other side already
    this.#settle();
  }

  #swapped(remote, epoch) {
    this.#session.request("epoch.swapped", { epoch, participantId: remote.id }).catch(() => {});
    this.#hooks.change();
  }

  #measured(remote, epoch, gaps) {
    if (!this.#measurable.has(epoch)) return;
    const params = { epoch, participantId: remote.id, ...gaps };
    this.#session.request("epoch.measured", params).catch(() => {});
    this.#hooks.measured(params);
  }

  #offered(offer) {
    this.receive.offer(offer).catch((error) => this.#trouble(error));
  }

  // ---- the ports ------------------------------------------------------------------------------------------------

  #transportChanged() {
    this.#checkPorts(false);
    this.#settle();
  }

  #checkPorts(late) {
    const up = this.send.alive && this.receive.alive;
    const dead = [this.send, this.receive].some((one) => one.state === "failed");
    if (up) this.#hooks.blocked(null);
    else if (late || dead) this.#hooks.blocked(this.media);
  }

  #trouble(error) {
    if (error.code !== "session_lost" && error.code !== "disconnected") this.#hooks.problem(error);
  }

  // ---- after a restart of the server ----------------------------------------------------------------------------

  /** Keeps what still flows of a call that the server has forgotten, until this one has taken over. */
  #adopt(before) {
    for (const timer of before.#timers) clearTimeout(timer);
    before.send.close();
    before.receive.close();
    for (const connection of [...before.#p2p.values(), ...before.#legacy]) {
      if (!connection.alive) {
        connection.close();
        continue;
      }
      connection.retire(() => this.#endLegacy());
      this.#legacy.push(connection);
    }
    for (const remote of before.shown) {
      this.#orphans.set(remote.id, remote);
      remote.moveTo(this.#remoteHooks());
    }
    before.#p2p.clear();
    // The server may go on with the same call, but it counts epochs anew.
    this.switches = before.switches.map((one) => ({ ...one, callId: null }));
    before.remotes.clear();
    this.#later(ORPHAN_MS, () => this.#endLegacy());
  }

  #endLegacy() {
    for (const connection of this.#legacy.splice(0)) connection.close();
    for (const remote of this.#orphans.values()) remote.close();
    this.#orphans.clear();
    this.#settle();
  }

  #orphanLike(info) {
    for (const [id, remote] of this.#orphans) {
      const same = info.userId ? remote.info.userId === info.userId : remote.info.name === info.name;
      if (!same) continue;
      this.#orphans.delete(id);
      return remote;
    }
    return null;
  }

  #later(ms, action) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, ms);
    this.#timers.add(timer);
  }

  static handlers() {
    return {
      "participant.joined": function ({ participant }) {
        this.#upsert(participant);
        this.#settle();
      },
      "participant.updated": function ({ participant }) {
        this.#upsert(participant);
        this.#settle();
      },
      "participant.left": function ({ participantId }) {
        this.#remove(participantId);
        this.#settle();
      },
      "participants.changed": function ({ joined, updated, left }) {
        for (const { participantId } of left) this.#remove(participantId);
        for (const participant of [...joined, ...updated]) this.#upsert(participant);
        this.#settle();
      },
      "call.updated": function ({ status, startedAt }) {
        this.status = status;
        this.startedAt = startedAt;
        this.#hooks.change();
      },
      "p2p.signal": function (params) {
        const connection = this.#p2p.get(params.epoch);
        if (connection?.peer === params.from) connection.signalled(params);
      },
      "sfu.offer": function (params) {
        this.#offered(params);
      },
      "sfu.transport": function ({ protocol, state }) {
        if (state === "connected") this.protocol = protocol ?? this.protocol;
        this.#hooks.change();
      },
      "epoch.prepare": function (params) {
        this.#prepare(params);
        this.#settle();
      },
      "epoch.commit": function (params) {
        this.epochs.commit(params);
        this.#settle();
      },
      "epoch.release": function (params) {
        if (this.epochs.release(params)) this.#endLegacy();
        this.#settle();
      },
      "epoch.abort": function (params) {
        this.epochs.abort(params);
        this.#settle();
      },
      "switch.recorded": function ({ seq, ...record }) {
        const known = this.switches.findIndex((one) => one.epoch === record.epoch && one.callId === this.id);
        const entry = { callId: this.id, ...record };
        if (known < 0) this.switches.push(entry);
        else this.switches[known] = entry;
        this.#hooks.change();
      },
      speaker: function ({ participantId }) {
        this.speaker = participantId;
        this.#hooks.change();
      },
      "audio.levels": function () {}, // the page measures what it plays
    };
  }
}

const HANDLERS = Call.handlers();
