/**
 * The local devices: one track each for microphone, camera and screen, and whether each is on.
 *
 * Mute keeps the track and sets `enabled = false`, so that unmuting is instant; a camera that is off is released, so
 * that its light goes out. Events: `change` (a track or a state changed), `problem` {source, reason, error} and
 * `devices` (something was plugged in or out). Reasons: refused, missing, busy, insecure, ended, unknown.
 */
import { SOURCES } from "./senders.js";

const DEVICE_KIND = { microphone: "audioinput", camera: "videoinput" };
const REASONS = {
  NotAllowedError: "refused",
  SecurityError: "refused",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "busy",
  AbortError: "busy",
};

export class MediaProblem extends Error {
  constructor(source, error) {
    super(error.message);
    this.name = "MediaProblem";
    this.source = source;
    this.reason = navigator.mediaDevices ? (REASONS[error.name] ?? "unknown") : "insecure";
    this.error = error;
  }
}

export class LocalMedia extends EventTarget {
  #device = { microphone: null, camera: null };
  #work = Promise.resolve();
  #meter = null;

  constructor() {
    super();
    this.tracks = { microphone: null, camera: null, screen: null };
    this.on = { microphone: false, camera: false, screen: false };
    navigator.mediaDevices?.addEventListener("devicechange", () => this.dispatchEvent(new Event("devices")));
  }

  /**
   * Opens microphone and camera with one question to the user; where one of them fails, the other is opened alone.
   * Never rejects: what failed is told by `problem` events and stays off.
   */
  open({ audio = true, video = true } = {}) {
    return this.#enqueue(async () => {
      const both = audio && video && !this.tracks.microphone && !this.tracks.camera;
      if (both) {
        try {
          const constraints = { audio: this.#constraints("microphone"), video: this.#constraints("camera") };
          const stream = await getUserMedia(constraints);
          this.#take("microphone", stream.getAudioTracks()[0]);
          this.#take("camera", stream.getVideoTracks()[0]);
          return;
        } catch (error) {
          if (REASONS[error.name] === "refused" && !(await partlyGranted())) {
            for (const source of ["microphone", "camera"]) this.#problem(source, error);
            return;
          }
        }
      }
      for (const [source, wanted] of [["microphone", audio], ["camera", video]]) {
        if (!wanted || this.on[source]) continue;
        await this.#switchOn(source).catch((error) => this.#problem(source, error));
      }
    });
  }

  /** @returns {Promise<boolean>} whether it is on now; a failure is told by a `problem` event */
  set(source, on) {
    return this.#enqueue(async () => {
      if (this.on[source] === on) return on;
      if (on) await this.#switchOn(source).catch((error) => this.#problem(source, error));
      else this.#switchOff(source);
      return this.on[source];
    });
  }

  /** Uses another microphone or camera from now on; it is opened at once only if the old one is on. */
  use(source, deviceId) {
    return this.#enqueue(async () => {
      this.#device[source] = deviceId || null;
      if (!this.tracks[source]) return;
      const enabled = this.on[source];
      try {
        const track = await this.#open(source);
        this.#take(source, track);
        if (!enabled) this.#switchOff(source);
      } catch (error) {
        this.#problem(source, error);
      }
    });
  }

  /** The device that a source uses, or null. */
  deviceOf(source) {
    return this.tracks[source]?.getSettings().deviceId ?? this.#device[source];
  }

  /** @returns {Promise<MediaDeviceInfo[]>} labels are empty before the user has agreed */
  async devices() {
    return (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  }

  get canShareScreen() {
    return Boolean(navigator.mediaDevices?.getDisplayMedia);
  }

  /** How loud the microphone is, 0 to 1; also while muted, so that a page can say "you are muted". */
  level() {
    return this.#meter?.level() ?? 0;
  }

  close() {
    for (const source of SOURCES) this.#drop(source);
    this.#meter?.close();
    this.#meter = null;
  }

  #enqueue(step) {
    const done = this.#work.then(step);
    this.#work = done.catch(() => {});
    return done;
  }

  async #switchOn(source) {
    if (this.tracks[source]?.readyState === "live") {
      this.tracks[source].enabled = true;
      this.on[source] = true;
      this.#changed();
      return;
    }
    this.#take(source, await this.#open(source));
  }

  #switchOff(source) {
    this.on[source] = false;
    if (source === "microphone" && this.tracks.microphone) this.tracks.microphone.enabled = false;
    else this.#drop(source);
    this.#changed();
  }

  async #open(source) {
    if (source === "screen") {
      const video = { frameRate: { ideal: 15, max: 30 } };
      const [track] = (await navigator.mediaDevices.getDisplayMedia({ video, audio: false })).getVideoTracks();
      track.contentHint = "detail";
      return track;
    }
    const kind = source === "camera" ? "video" : "audio";
    const stream = await getUserMedia({ [kind]: this.#constraints(source) });
    return stream.getTracks()[0];
  }

  #constraints(source) {
    const deviceId = this.#device[source] ? { exact: this.#device[source] } : undefined;
    if (source === "microphone") {
      return { deviceId, echoCancellation: true, noiseSuppression: true, autoGainControl: true };
    }
    return { deviceId, width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };
  }

  #take(source, track) {
    const old = this.tracks[source];
    this.tracks[source] = track;
    this.on[source] = true;
    track.onended = () => this.#ended(source, track);
    if (source === "microphone") this.#listen(track);
    this.#changed(); // the senders take the new track before the old one stops
    stop(old);
  }

  #drop(source) {
    stop(this.tracks[source]);
    this.tracks[source] = null;
    this.on[source] = false;
  }

  /** The device was unplugged, the permission revoked, or the browser's own "stop sharing" was pressed. */
  #ended(source, track) {
    this.#enqueue(async () => {
      if (this.tracks[source] !== track) return;
      this.tracks[source] = null;
      this.on[source] = false;
      if (source !== "screen") {
        this.#device[source] = null;
        await this.#switchOn(source).catch((error) => this.#problem(source, error, "ended"));
      }
      this.#changed();
    });
  }

  #listen(track) {
    this.#meter?.close();
    this.#meter = new LevelMeter(track);
  }

  #problem(source, error, reason = null) {
    const problem = new MediaProblem(source, error);
    if (reason) problem.reason = reason;
    if (source === "screen" && problem.reason === "refused") return; // the user closed the chooser: no problem
    this.dispatchEvent(new CustomEvent("problem", { detail: problem }));
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }

  /** The kind that enumerateDevices uses for a source. */
  static deviceKind(source) {
    return DEVICE_KIND[source];
  }
}

/** Loudness of one track by WebAudio, on a clone so that mute does not deafen it. */
class LevelMeter {
  constructor(track) {
    this.track = track.clone();
    this.track.enabled = true;
    this.context = new AudioContext();
    this.analyser = this.context.createAnalyser();
    this.analyser.fftSize = 512;
    this.context.createMediaStreamSource(new MediaStream([this.track])).connect(this.analyser);
    this.samples = new Float32Array(this.analyser.fftSize);
  }

  level() {
    if (this.context.state === "suspended") this.context.resume().catch(() => {});
    this.analyser.getFloatTimeDomainData(this.samples);
    let sum = 0;
    for (const sample of this.samples) sum += sample * sample;
    return Math.sqrt(sum / this.samples.length);
  }

  close() {
    this.track.stop();
    this.context.close().catch(() => {});
  }
}

async function getUserMedia(constraints) {
  if (!navigator.mediaDevices) throw new DOMException("cameras need https or localhost", "SecurityError");
  return navigator.mediaDevices.getUserMedia(constraints);
}

/** Whether one of the two permissions may still be had when both together were refused. */
async function partlyGranted() {
  try {
    const states = await Promise.all(
      ["microphone", "camera"].map((name) => navigator.permissions.query({ name })),
    );
    return states.some((state) => state.state === "granted") && states.some((state) => state.state === "denied");
  } catch {
    return false;
  }
}

function stop(track) {
  if (!track) return;
  track.onended = null;
  track.stop();
}
