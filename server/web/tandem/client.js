/**
 * Tandem: the client. Joins a call, keeps it through lost connections and restarts of the server, and offers its state
 * as plain data. docs/client.md shows how to use it; it needs no page.
 *
 * Events: `change` (anything that a user could see; coalesced), `connection` {state}, `incoming` {call}, `cancelled`
 * {callId, reason}, `chat` {participantId, name, text, at}, `caption` {participantId, segmentId, text, isFinal,
 * language, …}, `ended` {reason, status}, `replaced`, `blocked` {media |
 * null}, `problem` {error}, `switched` {record}, `measured` {epoch, participantId, maxVideoGapMs, maxAudioGapMs}.
 */
import { Call } from "./call.js";
import { HeadlessRenderer } from "./headless.js";
import { LocalMedia } from "./media.js";
import { RpcError, Session } from "./rpc.js";
import { SfuSend } from "./sfu.js";
import { StatsReporter, bars, protocolOf } from "./stats.js";

export const VERSION = "0.1.0";

const FEATURES = ["participants.changed"]; // of the protocol, that not every client has
const FIRST_STATS_MS = 2_000;
const STATS_MS = 5_000;
const LEVELS_MS = 200;
const SPEAKING_LEVEL = 0.02;
const SPEAKING_HOLD_MS = 700;
const PUBLIC_STATE = { audio: "audioEnabled", video: "videoEnabled", screen: "screenShareEnabled" };

export class Tandem extends EventTarget {
  #options;
  #session = null;
  #rejoin = null; // parameters of call.join, while this client wants to be in a call
  #told = null; // the local state that the server knows
  #changing = false;
  #timers = [];
  #reporter = new StatsReporter();
  #spokeAt = new Map(); // participant id -> ms

  /**
   * @param {object} options
   *   url: of the WebSocket, by default /ws where the page came from; token: a JWT; name: shown to others;
   *   renderer: what plays paths (docs/client.md); preferVideoCodec: "VP9" and so on; device: stored as deviceInfo
   */
  constructor(options = {}) {
    super();
    this.#options = { renderer: new HeadlessRenderer(), ...options };
    this.name = options.name ?? "";
    this.media = new LocalMedia();
    this.media.addEventListener("change", () => this.#mediaChanged());
    this.call = null;
    this.connection = "closed"; // connecting, connected, reconnecting, closed
    this.blocked = null; // MediaPath, when the SFU cannot be reached
    this.error = null;
    this.selfSpeaking = false;
    globalThis.addEventListener?.("online", () => this.#session?.hurry());
  }

  // ---- the session ----------------------------------------------------------------------------------------------

  /** Connects to the server. @returns {Promise<object>} the HelloResult */
  connect() {
    if (!this.#session) {
      this.#session = new Session({ url: this.#options.url ?? defaultUrl(), hello: () => this.#hello() });
      this.#session.addEventListener("ready", (event) => this.#ready(event.detail));
      this.#session.addEventListener("down", () => this.#setConnection("reconnecting"));
      this.#session.addEventListener("closed", (event) => this.#closed(event.detail));
      this.#session.addEventListener("notification", ({ detail }) => this.#notified(detail.method, detail.params));
      this.#setConnection("connecting");
    }
    return this.#session.open();
  }

  /** Leaves and closes for good. */
  close() {
    this.leave().catch(() => {});
    this.#session?.close();
    this.media.close();
  }

  /** Cuts the WebSocket as a lost network does; the client comes back by itself. For tests and demonstrations. */
  cutConnection() {
    this.#session?.cut();
  }

  /** The HelloResult, or null before the first connection. */
  get identity() {
    return this.#session?.result ?? null;
  }

  // ---- calls ----------------------------------------------------------------------------------------------------

  /** Joins the room's call, or begins one. */
  async join(roomId, { callType = "VIDEO" } = {}) {
    this.#rejoin = { roomId, callType };
    return this.#enter("call.join", { roomId, callType });
  }

  /** Begins a call and rings users. */
  async start({ roomId, invite = [], callType = "VIDEO", settings = null }) {
    this.#rejoin = { roomId, callType };
    return this.#enter("call.start", { roomId, invite, callType, settings });
  }

  /** Answers an `incoming` call. */
  async answer(callId) {
    const call = await this.#enter("call.answer", { callId });
    this.#rejoin = { roomId: call.roomId, callType: call.callType };
    return call;
  }

  reject(callId) {
    return this.#request("call.reject", { callId });
  }

  /** Leaves the call at once; the server is told when it can be. */
  async leave() {
    if (!this.call && !this.#rejoin) return;
    this.#rejoin = null;
    this.#endCall();
    if (this.#session?.state === "ready") await this.#request("call.leave");
  }

  /** Ends the call for all, where the token grants it. */
  end() {
    return this.#request("call.end");
  }

  sendChat(text) {
    return this.#session.request("chat.send", { text }, { once: true });
  }

  /**
   * What this client's user is saying, for the others to read. Again with the same segmentId it replaces what was sent
   * before; `isFinal` ends the segment. Its text is whole each time. Without a segmentId it is a segment by itself.
   */
  sendCaption(text, { segmentId, isFinal = segmentId === undefined, ...more } = {}) {
    segmentId ??= crypto.randomUUID();
    return this.#session.request("caption.send", { segmentId, text, isFinal, ...more }, { once: !isFinal });
  }

  /** Asks for "p2p" or "sfu". */
  requestMode(mode) {
    return this.#request("mode.request", { mode });
  }

  async rename(name) {
    this.name = name;
    if (this.call) await this.#request("participant.update", { name });
  }

  // ---- devices --------------------------------------------------------------------------------------------------

  setMicrophone(on) {
    return this.media.set("microphone", on);
  }

  setCamera(on) {
    return this.media.set("camera", on);
  }

  setScreen(on) {
    return this.media.set("screen", on);
  }

  /** Uses another device for "microphone" or "camera", everywhere, with no negotiation. */
  useDevice(source, deviceId) {
    return this.media.use(source, deviceId);
  }

  // ---- state ----------------------------------------------------------------------------------------------------

  /** All that can be seen from outside, as plain data. */
  state() {
    const { call } = this;
    return {
      connected: this.connection === "connected",
      callId: call?.id ?? null,
      roomId: call?.roomId ?? null,
      participantId: call?.me ?? null,
      mode: call?.epochs.mode ?? null,
      epoch: call?.epochs.epoch ?? 0,
      pendingEpoch: call?.epochs.pending?.epoch ?? null,
      captions: call?.captions ?? null,
      participants: call ? [this.#selfState(), ...[...call.remotes.values()].map((one) => this.#remoteState(one))] : [],
      switches: (call?.switches ?? []).map(({ callId, ...record }) => record),
      sfu: { send: call?.send.state ?? null, recv: call?.receive.state ?? null, protocol: call?.protocol ?? null },
      error: this.error && { code: this.error.code ?? this.error.name, message: this.error.message },
    };
  }

  /** Everybody to show: the participants of `state()` with `quality` (1 to 4, null) and `orphan`. */
  people() {
    const { call } = this;
    if (!call) return [];
    const others = call.shown.map((remote) => {
      const orphan = call.isOrphan(remote);
      const status = orphan ? "reconnecting" : remote.info.status;
      return { ...this.#remoteState(remote), status, quality: remote.quality, orphan };
    });
    return [{ ...this.#selfState(), quality: null, orphan: false }, ...others];
  }

  #selfState() {
    const { on } = this.media;
    return {
      participantId: this.call.me,
      name: this.call.self?.name || this.name,
      self: true,
      status: this.connection === "connected" ? "connected" : "reconnecting",
      audioEnabled: on.microphone,
      videoEnabled: on.camera,
      screenShareEnabled: on.screen,
      path: null,
      speaking: this.selfSpeaking && on.microphone,
    };
  }

  #remoteState(remote) {
    const { info } = remote;
    return {
      participantId: info.participantId,
      name: info.name,
      self: false,
      status: info.status,
      audioEnabled: info.audioEnabled,
      videoEnabled: info.videoEnabled,
      screenShareEnabled: info.screenShareEnabled,
      path: remote.active?.kind ?? null,
      speaking: remote.speaking,
    };
  }

  // ---- inside ---------------------------------------------------------------------------------------------------

  #request(method, params = {}) {
    if (!this.#session) return Promise.reject(new RpcError("disconnected", "connect() first"));
    return this.#session.request(method, params);
  }

  #hello() {
    const { token, device } = this.#options;
    const hello = { client: `tandem.js/${VERSION}`, device: device ?? describeDevice(), features: FEATURES };
    if (token) hello.token = token;
    if (this.name) hello.name = this.name;
    return hello;
  }

  /** Joins and publishes in one request: the others are offered this client's media at once. */
  async #enter(method, params) {
    const { on } = this.media;
    const send = new SfuSend({
      publish: (sdp) => this.#request("sfu.publish", { sdp }),
      preferVideoCodec: this.#options.preferVideoCodec,
    });
    try {
      await send.offered;
      const told = { audio: on.microphone, video: on.camera, screen: false };
      const { sdp } = send.pc.localDescription;
      const media = { audioEnabled: told.audio, videoEnabled: told.video, sdp };
      const { call, published } = await this.#request(method, { ...params, ...media });
      this.#told = told;
      this.#begin(call, { send, published: send.start(published) });
      return call;
    } catch (error) {
      send.close();
      throw error;
    }
  }

  #begin(state, { send, published }) {
    const before = this.call;
    this.error = null;
    this.call = new Call({
      session: this.#session,
      media: this.media,
      options: this.#options,
      state,
      send,
      published,
      before,
      hooks: {
        change: () => this.#change(),
        blocked: (media) => this.#setBlocked(media),
        problem: (error) => this.#problem(error),
        measured: (result) => this.#emit("measured", result),
      },
    });
    if (!this.#timers.length) this.#startTimers();
    this.#tellMedia();
    this.#change();
  }

  #endCall() {
    this.call?.close();
    this.call = null;
    this.#told = null;
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    this.#setBlocked(null);
    this.#change();
  }

  #ready({ result, fresh }) {
    this.#setConnection("connected");
    if (!fresh && result.resync) {
      if (result.call && this.call?.id === result.call.callId) this.call.rebuild(result.call);
      else if (this.call) this.#over({ reason: "ended_while_away", status: "ENDED" });
    }
    if (fresh && this.call && this.#rejoin) this.#comeBack();
    if (!fresh) this.call?.revive();
    this.#tellMedia();
  }

  /** The server has forgotten us: join the same room again with the same devices. */
  async #comeBack() {
    try {
      await this.#enter("call.join", this.#rejoin);
    } catch (error) {
      if (error.code === "session_lost" || error.code === "disconnected") return; // the next `ready` tries again
      this.#problem(error);
      this.#rejoin = null;
      this.#endCall();
      this.#emit("ended", { reason: error.code, status: "ENDED" });
    }
  }

  #closed({ code, error }) {
    this.#setConnection("closed");
    if (error) this.error = error;
    const had = this.call;
    this.#rejoin = null;
    if (had) this.#endCall();
    if (code === 4001) this.#emit("replaced", {});
    this.#change();
  }

  #notified(method, params) {
    if (this.call?.handle(method, params)) {
      if (method === "switch.recorded") this.#emit("switched", params);
      return;
    }
    if (method === "call.incoming") this.#emit("incoming", params);
    else if (method === "call.cancelled") this.#emit("cancelled", params);
    else if (method === "chat.message") this.#emit("chat", params);
    else if (method === "call.caption") this.#emit("caption", params);
    else if (method === "call.ended" && params.callId === this.call?.id) this.#over(params);
    else if (method === "call.replaced" && params.callId === this.call?.id) {
      this.#rejoin = null;
      this.#endCall();
      this.#emit("replaced", params);
    }
  }

  #over({ reason, status }) {
    // A server that restarts ends its calls; ours is to go on, so this client comes back with the next session.
    if (reason === "server_shutdown" && this.#rejoin) return;
    this.#rejoin = null;
    this.#endCall();
    this.#emit("ended", { reason, status });
  }

  #mediaChanged() {
    this.call?.tracksChanged();
    this.#tellMedia();
    this.#change();
  }

  /** Tells the server which devices are on, where it does not know yet. */
  #tellMedia() {
    if (!this.call || !this.#told) return;
    const { on } = this.media;
    const now = { audio: on.microphone, video: on.camera, screen: on.screen };
    const news = Object.keys(now).filter((key) => now[key] !== this.#told[key]);
    if (!news.length) return;
    this.#told = now;
    const update = Object.fromEntries(news.map((key) => [PUBLIC_STATE[key], now[key]]));
    this.#request("participant.update", update).catch((error) => this.#problem(error));
  }

  #startTimers() {
    this.#timers.push(setInterval(() => this.#listen(), LEVELS_MS));
    this.#timers.push(setTimeout(() => this.#reportStats(), FIRST_STATS_MS));
    this.#timers.push(setInterval(() => this.#reportStats(), STATS_MS));
  }

  async #reportStats() {
    const { call } = this;
    if (!call) return;
    const protocol = await protocolOf(call.send.pc);
    if (protocol) call.protocol = protocol;
    const about = { path: call.pathName, iceFailures: call.iceFailures + call.send.failures + call.receive.failures };
    const { report, inbound, rttMs } = await this.#reporter.collect(call.connections, about);
    if (this.call !== call) return;
    for (const remote of call.remotes.values()) {
      const mine = (remote.active?.trackIds ?? []).map((id) => inbound.get(id)).filter(Boolean);
      remote.quality = bars(mine, rttMs);
    }
    if (this.#session.state === "ready") this.#request("stats", report).catch(() => {});
    this.#change();
  }

  #listen() {
    const now = performance.now();
    let changed = false;
    const heard = (id, level, was) => {
      if (level > SPEAKING_LEVEL) this.#spokeAt.set(id, now);
      const speaking = now - (this.#spokeAt.get(id) ?? -Infinity) < SPEAKING_HOLD_MS;
      changed ||= speaking !== was;
      return speaking;
    };
    for (const remote of this.call.remotes.values()) {
      const level = remote.info.audioEnabled ? (remote.active?.level() ?? 0) : 0;
      remote.speaking = heard(remote.id, level, remote.speaking);
    }
    this.selfSpeaking = heard(this.call.me, this.media.level(), this.selfSpeaking);
    if (changed) this.#change();
  }

  #setConnection(state) {
    if (this.connection === state) return;
    this.connection = state;
    this.#emit("connection", { state });
    this.#change();
  }

  #setBlocked(media) {
    if (this.blocked === media) return;
    this.blocked = media;
    this.#emit("blocked", { media });
    this.#change();
  }

  #problem(error) {
    this.error = error;
    this.#emit("problem", { error });
    this.#change();
  }

  #change() {
    if (this.#changing) return;
    this.#changing = true;
    queueMicrotask(() => {
      this.#changing = false;
      this.dispatchEvent(new Event("change"));
    });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function defaultUrl() {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`;
}

function describeDevice() {
  const { userAgent = "", language = "", platform = "" } = globalThis.navigator ?? {};
  return { userAgent: userAgent.slice(0, 512), language, platform };
}
