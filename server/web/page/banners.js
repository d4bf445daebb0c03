/** Messages that stay as long as what they tell, or as long as they are of use. */
import { byId, el, icon } from "./dom.js";

const shown = new Map(); // key -> element

/**
 * Shows a message, or changes it.
 * @param {string} key what it is about: one message each
 * @param {{text: string, detail?: string, tone?: "info" | "good" | "warn" | "bad", action?: {label: string, run: () =>
 *   void}, forMs?: number, closable?: boolean}} message
 */
export function banner(key, { text, detail = "", tone = "info", action = null, forMs = 0, closable = true }) {
  const words = el("div", "banner-text", el("strong", "", text));
  if (detail) words.append(el("span", "", detail));
  const box = el("div", `banner ${tone}`, words);
  box.dataset.key = key;
  if (action) {
    const button = el("button", "text-button", action.label);
    button.type = "button";
    button.onclick = () => action.run();
    box.append(button);
  }
  if (closable) {
    const close = el("button", "icon-button", icon("close"));
    close.type = "button";
    close.setAttribute("aria-label", "Dismiss");
    close.onclick = () => unbanner(key);
    box.append(close);
  }
  const old = shown.get(key);
  if (old) old.replaceWith(box);
  else byId("banners").append(box);
  shown.set(key, box);
  if (forMs) setTimeout(() => shown.get(key) === box && unbanner(key), forMs);
}

export function unbanner(key) {
  shown.get(key)?.remove();
  shown.delete(key);
}

/** What to say when a device cannot be had, and what to do about it. */
export function deviceMessage({ source, reason, error }) {
  const what = { microphone: "microphone", camera: "camera", screen: "screen" }[source];
  const messages = {
    refused: [
      `The browser does not let this page use your ${what}.`,
      "Click the lock or camera sign beside the address, allow it, and switch it on here.",
    ],
    missing: [
      `No ${what} was found.`,
      "Plug one in, or choose another under Devices. You can stay in the call without.",
    ],
    busy: [`The ${what} is in use.`, "Another program or tab has it: close that one and switch it on here again."],
    insecure: [
      `Browsers give a ${what} only to https pages.`,
      "Open this page by its https address, or on the server itself by http://localhost.",
    ],
    ended: [`The ${what} has stopped.`, "It was unplugged or taken away; there is no other one to use."],
    unknown: [`The ${what} cannot be used.`, error?.message ?? ""],
  };
  const [text, detail] = messages[reason] ?? messages.unknown;
  return { text, detail, tone: "warn" };
}

/** What to say when the SFU's port cannot be reached. */
export function blockedMessage({ addresses, udpPort, tcpPort }) {
  const remote = addresses.filter((address) => !/^(127\.|::1$)/.test(address));
  const hosts = (remote.length ? remote : addresses).join(", ") || "the server";
  const ports = tcpPort ? `UDP port ${udpPort} nor TCP port ${tcpPort}` : `UDP port ${udpPort}`;
  return {
    text: "The media port of the server cannot be reached.",
    detail:
      `${tcpPort ? "Neither " : "Not "}${ports} of ${hosts} answers. Calls of two may work directly; for three or ` +
      "more, a firewall on the way, or the server's, must let one of them through.",
    tone: "bad",
  };
}
