/**
 * One pair's swap: watches a new path that already renders, muted and out of sight, and says when it can take over
 * without anybody noticing. It decides nothing but that; `Remote` does the swap.
 */

const POLL_MS = 40;
const AUDIO_POLL_MS = 60; // the browser renews its statistics every 50 ms at most
const AUDIO_HEALTHY_MS = 280; // a joiner costs everybody processor time: nothing is lost by letting that pass
const AUDIO_PATIENCE_MS = 1_500; // a lossy network never gets healthy: then playing at all is enough
const SCREEN_PATIENCE_MS = 1_500; // a still screen may send its first frame late
const FRAME_PATIENCE_MS = 150; // how long to wait for a frame to swap on, once all else is ready

export class PairSwitch {
  #needs;
  #alone;
  #onready;
  #cancelled = false;
  #audio;
  #armed = false;
  #timer = null;
  #framesBefore;

  /**
   * @param {object} of to: Path, view: its View, needs() → {audio, video, screen} (what the participant sends now),
   *   alone: there is no old path that could be missed, onready(): called once, in the task that presents a frame of
   *   the new path where there is video
   */
  constructor({ to, view, needs, alone, onready }) {
    this.to = to;
    this.view = view;
    this.#needs = needs;
    this.#onready = onready;
    this.#alone = alone;
    this.#audio = new AudioWatch(to);
    this.#framesBefore = view.frames;
    this.#run();
  }

  cancel() {
    this.#cancelled = true;
    clearTimeout(this.#timer);
  }

  /** The new path's element has presented a camera frame. */
  frame() {
    if (this.#armed) this.#finish();
  }

  async #run() {
    const began = performance.now();
    while (!this.#cancelled) {
      if (await this.#ready(performance.now() - began)) break;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    if (this.#cancelled) return;
    if (this.#needs().video && this.view.visible) {
      // Swapping in the task of a fresh frame leaves the old path's last frame in view for the shortest time.
      this.#armed = true;
      this.#timer = setTimeout(() => this.#finish(), FRAME_PATIENCE_MS);
    } else {
      this.#finish();
    }
  }

  #finish() {
    if (this.#cancelled) return;
    this.cancel();
    this.#onready();
  }

  async #ready(waited) {
    if (!this.to.alive) return false;
    const needs = this.#needs();
    const audio = !needs.audio || (this.#alone ? this.to.playsAudio : await this.#audio.healthy());
    const video = !needs.video || (await this.#shown("camera", this.view.frames > this.#framesBefore));
    if (!audio || !video) return false;
    if (!needs.screen || waited > SCREEN_PATIENCE_MS) return true;
    return this.#shown("screen", this.view.screenFrames > 0);
  }

  /** A hidden page presents nothing: there, decoded is as good as shown. */
  async #shown(source, presented) {
    return presented || (!this.view.visible && (await this.to.framesDecoded(source)) > 0);
  }
}

/** Whether a path's audio plays without stumbling, from the statistics of its playout. */
class AudioWatch {
  #path;
  #last = null;
  #healthyMs = 0;
  #playsSince = null;
  #polledAt = 0;

  constructor(path) {
    this.#path = path;
  }

  async healthy() {
    if (!this.#path.playsAudio) {
      this.#last = this.#playsSince = null;
      this.#healthyMs = 0;
      return false;
    }
    this.#playsSince ??= performance.now();
    if (performance.now() - this.#polledAt >= AUDIO_POLL_MS) await this.#poll();
    const patience = performance.now() - this.#playsSince > AUDIO_PATIENCE_MS;
    return this.#healthyMs >= AUDIO_HEALTHY_MS || patience;
  }

  async #poll() {
    this.#polledAt = performance.now();
    const now = await this.#path.audio();
    const last = this.#last;
    this.#last = now;
    if (!now || !last || now.samples === last.samples) return;
    const samples = now.samples - last.samples;
    const fine = now.concealed - last.concealed <= samples / 10;
    this.#healthyMs = fine ? this.#healthyMs + samples / 48 : 0;
  }
}
