/**
 * What a switch costs one receiver of one sender: the longest time without a newly presented video frame and the
 * audio that had to be concealed, from `epoch.prepare` until a while after the swap (docs/protocol.md, "The switch").
 *
 * Only what the user gets counts: frames that were presented by the element in view at the time, and the playout of
 * the path that was audible at the time.
 */

const SAMPLES_PER_MS = 48;
const STATS_SLACK_MS = 40; // playout is counted in steps of 10 ms and read at moments of the browser's choosing

export class GapMeter {
  #path;
  #lastFrameAt = null;
  #maxVideoMs = null;
  #audioMs = null; // concealed so far, on the paths that were left
  #since; // Promise of the audio sample with which the current path began

  /** @param {Path} path the one in view and audible now */
  constructor(path) {
    this.#path = path;
    this.#since = path.audio();
  }

  /**
   * The element in view has presented a frame.
   * @param {number} at ms
   * @param {boolean} continuous false if the page was hidden or the camera off since the frame before
   */
  frame(at, continuous = true) {
    if (continuous && this.#lastFrameAt !== null) {
      this.#maxVideoMs = Math.max(this.#maxVideoMs ?? 0, at - this.#lastFrameAt);
    }
    this.#lastFrameAt = at;
  }

  /** The camera or the microphone was switched: what happens in between is no gap. */
  interrupt() {
    this.#lastFrameAt = null;
    this.#since = this.#path.audio();
  }

  /** Another path is in view and audible from now on. */
  swap(path) {
    const [old, since] = [this.#path, this.#since];
    this.#path = path;
    this.#since = path.audio();
    this.#leave(old, since);
  }

  /** @returns {Promise<{maxVideoGapMs: number | null, maxAudioGapMs: number | null}>} null: nothing to measure */
  async finish() {
    await this.#leave(this.#path, this.#since);
    return { maxVideoGapMs: round(this.#maxVideoMs), maxAudioGapMs: round(this.#audioMs) };
  }

  async #leave(path, since) {
    const [first, last] = await Promise.all([since, path.audio()]);
    if (!first || !last) return;
    this.#audioMs = (this.#audioMs ?? 0) + audioGap(first, last);
  }
}

/** Milliseconds of sound that were made up, or never played, between two samples of `Path.audio`. */
export function audioGap(first, last) {
  const concealed = Math.max(0, last.concealed - first.concealed) / SAMPLES_PER_MS;
  const hole = last.at - first.at - (last.samples - first.samples) / SAMPLES_PER_MS;
  return concealed + (hole > STATS_SLACK_MS ? hole : 0);
}

function round(ms) {
  return ms === null ? null : Math.min(600_000, Math.round(ms * 10) / 10);
}
