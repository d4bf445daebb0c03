/** The dialog of an incoming call. */
import { byId, setText } from "./dom.js";
import { paintAvatar } from "./names.js";

export class Ring {
  #call = null;
  #timer = null;
  #tone = null;

  /** @param {{onanswer: (call: object) => void, onreject: (call: object) => void}} of */
  constructor({ onanswer, onreject }) {
    byId("ring-answer").onclick = () => this.#take(onanswer);
    byId("ring-reject").onclick = () => this.#take(onreject);
    byId("ring").oncancel = (event) => {
      event.preventDefault(); // Escape declines, rather than hiding a phone that goes on ringing
      this.#take(onreject);
    };
  }

  show(call) {
    this.hide();
    this.#call = call;
    const name = call.fromName || "Somebody";
    paintAvatar(byId("ring-avatar"), name);
    setText(byId("ring-title"), `${name} is calling`);
    setText(byId("ring-text"), call.callType === "AUDIO" ? "Audio call" : "Video call");
    byId("ring").showModal();
    byId("ring-answer").focus();
    this.#timer = setTimeout(() => this.hide(), Math.max(1_000, call.expiresAt - Date.now()));
    this.#tone = new Tone();
  }

  /** @param {string | null} callId only if it is this one */
  hide(callId = null) {
    if (!this.#call || (callId && this.#call.callId !== callId)) return;
    this.#call = null;
    clearTimeout(this.#timer);
    this.#tone?.stop();
    byId("ring").close();
  }

  #take(action) {
    const call = this.#call;
    this.hide();
    if (call) action(call);
  }
}

/** Two soft notes every two seconds, where the browser lets a page make a sound. */
class Tone {
  constructor() {
    this.context = new AudioContext();
    this.timer = setInterval(() => this.#play(), 2_000);
    this.#play();
  }

  #play() {
    if (this.context.state !== "running") return;
    [660, 880].forEach((frequency, index) => {
      const start = this.context.currentTime + index * 0.22;
      const gain = this.context.createGain();
      gain.gain.setValueAtTime(0, start);
      gain.gain.linearRampToValueAtTime(0.12, start + 0.03);
      gain.gain.exponentialRampToValueAtTime(0.001, start + 0.5);
      const oscillator = this.context.createOscillator();
      oscillator.frequency.value = frequency;
      oscillator.connect(gain).connect(this.context.destination);
      oscillator.start(start);
      oscillator.stop(start + 0.55);
    });
  }

  stop() {
    clearInterval(this.timer);
    this.context.close().catch(() => {});
  }
}
