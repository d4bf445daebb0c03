/** What the user says, as captions: by the browser's own speech recognition, where it has one and the user wants it. */
import { el } from "./dom.js";

const Recognition = globalThis.SpeechRecognition ?? globalThis.webkitSpeechRecognition;
const AGAIN_MS = 500; // a recogniser ends by itself after a silence
const FATAL = new Set(["not-allowed", "service-not-allowed", "language-not-supported", "network"]);

export class Speech {
  #client;
  #onproblem;
  #recognition = null;
  #wanted = false;
  #box = null;
  #session = 0; // of the recogniser: its results are counted from 0 in each
  #name = crypto.randomUUID().slice(0, 8); // segments of this page are nobody else's

  /**
   * Adds the switch to `container`.
   * @param {{client: Tandem, container: HTMLElement, onproblem: (text: string) => void}} of
   */
  constructor({ client, container, onproblem }) {
    this.#client = client;
    this.#onproblem = onproblem;
    if (!Recognition) return;
    const input = el("input");
    input.type = "checkbox";
    input.onchange = () => this.want(input.checked);
    const hint = el("small", "", "The browser recognises it; some browsers send the sound to their maker for that.");
    this.#box = el("label", "check", input, el("span", "", "Caption what I say", hint));
    container.append(this.#box);
  }

  /** The call is over; whoever wants it in the next one says so again. */
  stop() {
    if (this.#box) this.want(false);
  }

  want(on) {
    this.#wanted = on;
    this.#box.querySelector("input").checked = on;
    this.render();
  }

  /** Listens while it is wanted, in a call that has captions, and the microphone is on. */
  render() {
    if (!this.#box) return;
    const { call, media } = this.#client;
    const possible = call !== null && call.captions !== "off";
    this.#box.hidden = !possible;
    const listen = this.#wanted && possible && media.on.microphone;
    if (listen && !this.#recognition) this.#start();
    else if (!listen && this.#recognition) this.#stop();
  }

  #start() {
    const recognition = (this.#recognition = new Recognition());
    const session = ++this.#session;
    recognition.lang = navigator.language;
    recognition.continuous = true;
    recognition.interimResults = true;
    recognition.onresult = (event) => this.#heard(session, event);
    recognition.onerror = ({ error }) => {
      if (!FATAL.has(error)) return;
      this.want(false);
      this.#onproblem(`The browser's speech recognition does not work here (${error}).`);
    };
    recognition.onend = () => {
      if (this.#recognition !== recognition) return;
      this.#recognition = null;
      setTimeout(() => this.render(), AGAIN_MS);
    };
    recognition.start();
  }

  #stop() {
    const recognition = this.#recognition;
    this.#recognition = null;
    recognition.stop(); // what it has heard still comes
  }

  #heard(session, { resultIndex, results }) {
    for (let n = resultIndex; n < results.length; n += 1) {
      const { transcript, confidence } = results[n][0];
      const text = transcript.trim().slice(0, 1_000);
      if (!text) continue;
      const isFinal = results[n].isFinal;
      const segmentId = `${this.#name}-${session}-${n}`;
      const more = isFinal && confidence > 0 && confidence <= 1 ? { confidence } : {};
      this.#client
        .sendCaption(text, { segmentId, isFinal, language: navigator.language, ...more })
        .catch(() => {}); // one that was refused for its rate is followed by another; the call may be over
    }
  }
}
