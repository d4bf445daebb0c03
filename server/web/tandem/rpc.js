/**
 * JSON-RPC 2.0 over one WebSocket that comes back by itself (docs/protocol.md, "The session and its connection").
 *
 * A `Session` outlives its WebSockets. After a cut it reconnects with back-off and resumes: requests that were not
 * answered are sent again, notifications that were missed follow in order. When the server no longer knows the session
 * it says `hello` anew and tells so by `ready` with `fresh: true`; what belonged to the old session is then lost.
 */

const SUBPROTOCOL = "tandem.v1";
const CONNECT_TIMEOUT_MS = 8_000;
const ANSWER_TIMEOUT_MS = 12_000; // a request that waits longer than this means that the connection is dead
const BACKOFF_FIRST_MS = 250;
const BACKOFF_MAX_MS = 5_000;
const CLOSED_TAKEN_OVER = 4001;
const FINAL_REFUSALS = new Set(["token_missing", "token_invalid", "token_expired", "forbidden"]);

/** A request that was refused. `code` is a word of docs/protocol.md, or `disconnected` or `session_lost`. */
export class RpcError extends Error {
  constructor(code, message, data = {}) {
    super(message);
    this.name = "RpcError";
    this.code = code;
    this.field = data.field ?? null;
    this.data = data;
  }

  static fromWire(error) {
    const data = error.data ?? {};
    return new RpcError(data.code ?? String(error.code), error.message ?? "refused", data);
  }
}

/** Delay before attempt `n` (0, 1, …) in ms: doubles up to a maximum; jitter keeps clients from returning as one. */
export function backoff(n, random = Math.random) {
  const full = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** n);
  return Math.round(full * (0.5 + random() / 2));
}

/**
 * Events: `ready` {result, fresh}, `down` {code, retryInMs}, `closed` {code, error}, `notification` {method, params}.
 * `state`: idle, connecting, ready, waiting, closed.
 */
export class Session extends EventTarget {
  #hello;
  #url;
  #socket = null;
  #resume = null;
  #lastSeq = 0;
  #nextId = 1;
  #pending = new Map(); // id -> {id, method, params, once, sent (on this connection), tried (ever), …}
  #attempt = 0;
  #timer = null;
  #watchdog = null;
  #opened = null;
  #drainMs = null;

  /** @param {{url: string, hello: () => object}} options `hello` makes the parameters of each new `hello`. */
  constructor({ url, hello }) {
    super();
    this.#url = url;
    this.#hello = hello;
    this.state = "idle";
    this.result = null;
  }

  /** Connects; resolves with the first HelloResult, rejects if the server refuses the hello for good. */
  open() {
    if (!this.#opened) {
      this.#opened = {};
      this.#opened.promise = new Promise((resolve, reject) => Object.assign(this.#opened, { resolve, reject }));
      this.#connect();
    }
    return this.#opened.promise;
  }

  /** Closes for good; requests in flight are rejected. */
  close(code = 1000, error = null) {
    if (this.state === "closed") return;
    this.state = "closed";
    clearTimeout(this.#timer);
    this.#dropSocket();
    this.#rejectAll(new RpcError("disconnected", "the session is closed"));
    this.#opened?.reject(error ?? new RpcError("disconnected", "the session was closed"));
    this.#opened?.promise.catch(() => {});
    this.#emit("closed", { code, error });
  }

  /** Tries again at once instead of waiting for the back-off (the network is back). */
  hurry() {
    if (this.state === "waiting") {
      clearTimeout(this.#timer);
      this.#connect();
    }
  }

  /** Cuts the connection without closing the session, as a lost network does. */
  cut() {
    this.#lost(1006);
  }

  /**
   * @param {boolean} once do not send it again after a cut, because doing it twice would show
   * @returns {Promise<object>} the result
   */
  request(method, params = {}, { once = false } = {}) {
    if (this.state === "closed") return Promise.reject(new RpcError("disconnected", "the session is closed"));
    return new Promise((resolve, reject) => {
      const call = { id: this.#nextId++, method, params, once, sent: false, tried: false, resolve, reject };
      this.#pending.set(call.id, call);
      if (this.state === "ready") this.#send(call);
    });
  }

  // ---- one connection -------------------------------------------------------------------------------------------

  #connect() {
    this.state = "connecting";
    const socket = new WebSocket(this.#url, [SUBPROTOCOL]);
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#lost(1006), CONNECT_TIMEOUT_MS);
    socket.onopen = () => this.#greet(this.#resume);
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.#lost(event.code);
  }

  #greet(resume) {
    const params = { ...this.#hello() };
    if (resume) params.resume = { ...resume, lastSeq: this.#lastSeq };
    const call = { id: this.#nextId++, method: "hello", params, once: true };
    call.resolve = (result) => this.#greeted(result);
    call.reject = (error) => this.#refused(error);
    this.#pending.set(call.id, call);
    this.#send(call);
  }

  #greeted(result) {
    clearTimeout(this.#timer);
    const fresh = !result.resumed;
    this.#resume = { sessionId: result.sessionId, resumeToken: result.resumeToken };
    if (fresh) {
      this.#lastSeq = 0;
      const lost = new RpcError("session_lost", "the server no longer knows this session");
      if (this.result) this.#rejectAll(lost, (call) => call.tried);
    }
    this.result = result;
    this.state = "ready";
    this.#attempt = 0;
    for (const call of [...this.#pending.values()]) this.#send(call);
    this.#opened.resolve(result);
    this.#emit("ready", { result, fresh });
  }

  #refused(error) {
    if (error.code === "resume_unknown" && this.#resume) {
      this.#resume = null;
      this.#greet(null);
    } else if (FINAL_REFUSALS.has(error.code) || !this.result) {
      this.close(1008, error);
    } else {
      this.#lost(1006);
    }
  }

  #receive(text) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return; // not ours to repair; the request that it answered times out
    }
    if (message === null || typeof message !== "object") return;
    if (message.method !== undefined) this.#notified(message.method, message.params ?? {});
    else this.#answered(message);
  }

  #notified(method, params) {
    if (Number.isInteger(params.seq)) {
      if (params.seq <= this.#lastSeq) return; // replayed after a resume, but it had arrived
      this.#lastSeq = params.seq;
    }
    if (method === "server.draining") this.#drainMs = params.reconnectAfterMs ?? 1000;
    this.#emit("notification", { method, params });
    // Everything that was sent before the notice has been handled, so leaving now loses nothing.
    if (method === "server.draining") setTimeout(() => this.#lost(1001), 0);
  }

  #answered(message) {
    const call = this.#pending.get(message.id);
    if (!call) return;
    this.#pending.delete(message.id);
    this.#watch();
    if (message.error) call.reject(RpcError.fromWire(message.error));
    else call.resolve(message.result ?? {});
  }

  #send(call) {
    call.sent = call.tried = true;
    call.sentAt = Date.now();
    this.#socket.send(JSON.stringify({ jsonrpc: "2.0", id: call.id, method: call.method, params: call.params }));
    this.#watch();
  }

  /** A half-open TCP connection says nothing: the oldest request that waits too long tells it. */
  #watch() {
    clearTimeout(this.#watchdog);
    const oldest = Math.min(...[...this.#pending.values()].filter((c) => c.sent).map((c) => c.sentAt));
    if (!Number.isFinite(oldest)) return;
    this.#watchdog = setTimeout(() => this.#lost(1006), Math.max(0, oldest + ANSWER_TIMEOUT_MS - Date.now()));
  }

  #lost(code) {
    if (this.state === "closed" || this.state === "waiting" || this.state === "idle") return;
    clearTimeout(this.#timer);
    this.#dropSocket();
    for (const call of [...this.#pending.values()]) {
      const mayHaveRun = call.sent;
      call.sent = false;
      if (call.method === "hello" || (call.once && mayHaveRun)) {
        this.#pending.delete(call.id);
        if (call.method !== "hello") call.reject(new RpcError("disconnected", "the connection was lost"));
      }
    }
    if (code === CLOSED_TAKEN_OVER) return this.close(code);
    this.state = "waiting";
    const retryInMs = this.#drainMs ?? backoff(this.#attempt++);
    this.#drainMs = null;
    this.#timer = setTimeout(() => this.#connect(), retryInMs);
    this.#emit("down", { code, retryInMs });
  }

  #dropSocket() {
    clearTimeout(this.#watchdog);
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = null;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #rejectAll(error, which = () => true) {
    for (const call of [...this.#pending.values()]) {
      if (!which(call)) continue;
      this.#pending.delete(call.id);
      call.reject(error);
    }
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
