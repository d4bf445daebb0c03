/** Captions over the tiles: what the others say, as text, the newest at the bottom. Texts are shown as texts. */
import { byId, el, setText } from "./dom.js";

const SHOWN_MS = 6_000; // without news of a segment
const LINES = 3;
const OFF_KEY = "tandem.captions-off";

export class Captions {
  #lines = new Map(); // participant and segment -> {element, text, timer}
  #nameOf;
  #heard = false; // somebody in this call is captioned

  /** @param {{nameOf: (participantId: string) => string}} of */
  constructor({ nameOf }) {
    this.#nameOf = nameOf;
  }

  get on() {
    return localStorage.getItem(OFF_KEY) === null;
  }

  toggle() {
    if (this.on) localStorage.setItem(OFF_KEY, "1");
    else localStorage.removeItem(OFF_KEY);
    this.render(!byId("captions-kept").hidden);
  }

  /** `kept`: the call stores what is captioned. The button is there once there is something to switch. */
  render(kept = false) {
    const button = byId("captions-toggle");
    button.hidden = !this.#heard;
    button.setAttribute("aria-pressed", String(this.on));
    button.classList.toggle("active", this.on);
    byId("captions").hidden = !this.on || !this.#lines.size;
    byId("captions-kept").hidden = !kept;
  }

  add({ participantId, segmentId, text }) {
    const key = `${participantId} ${segmentId}`;
    let line = this.#lines.get(key);
    if (!line) {
      const words = el("span");
      line = { element: el("p", "", el("b", "", this.#nameOf(participantId) || "Guest"), words), words };
      this.#lines.set(key, line);
      byId("captions").append(line.element);
      while (this.#lines.size > LINES) this.#drop(this.#lines.keys().next().value);
    }
    setText(line.words, text);
    clearTimeout(line.timer);
    line.timer = setTimeout(() => this.#drop(key), SHOWN_MS);
    this.#heard = true;
    this.render(!byId("captions-kept").hidden);
  }

  clear() {
    for (const key of [...this.#lines.keys()]) this.#drop(key);
    this.#heard = false;
    this.render();
  }

  #drop(key) {
    const line = this.#lines.get(key);
    clearTimeout(line.timer);
    line.element.remove();
    this.#lines.delete(key);
    byId("captions").hidden = !this.on || !this.#lines.size;
  }
}
