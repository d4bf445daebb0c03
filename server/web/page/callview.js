/** The call: tiles, the bar above, the buttons below, and the keys. */
import { Chat } from "./chat.js";
import { banner } from "./banners.js";
import { Captions } from "./captions.js";
import { DeviceFields, openDevices } from "./devices.js";
import { announce, byId, setText } from "./dom.js";
import { toggleButton } from "./lobby.js";
import { Speech } from "./speech.js";

const MODE_TITLES = {
  p2p: "Direct: sound and picture go straight to the other person",
  sfu: "Through the server, as with three people or more",
};

export class CallView {
  #client;
  #tiles;
  #timer = null;
  #startedAt = null;
  #names = new Map();
  #wasScreen = false;

  /** @param {{client: Tandem, tiles: Tiles, renderer: PageRenderer, onleave: () => void}} of */
  constructor({ client, tiles, renderer, onleave }) {
    this.#client = client;
    this.#tiles = tiles;
    this.chat = new Chat({
      send: (text) => client.sendChat(text),
      onproblem: ({ message }) =>
        banner("chat", { text: "The message was not sent.", detail: message, tone: "warn", forMs: 6_000 }),
      onlayout: () => tiles.arrange(),
    });
    this.fields = new DeviceFields(byId("devices-fields"), client, renderer);
    this.captions = new Captions({ nameOf: (id) => client.people().find((one) => one.participantId === id)?.name });
    this.speech = new Speech({
      client,
      container: byId("devices-dialog"),
      onproblem: (text) => banner("speech", { text, tone: "warn", forMs: 8_000 }),
    });
    const { media } = client;
    const actions = {
      mic: () => client.setMicrophone(!media.on.microphone),
      cam: () => client.setCamera(!media.on.camera),
      share: () => media.canShareScreen && client.setScreen(!media.on.screen),
      "chat-toggle": () => this.chat.toggle(),
      "captions-toggle": () => this.captions.toggle(),
      "devices-toggle": () => openDevices(this.fields),
      leave: onleave,
      "copy-link": () => this.#copyLink(),
    };
    for (const [id, action] of Object.entries(actions)) byId(id).onclick = action;
    byId("share").hidden = !media.canShareScreen;
    this.#wireKeys({
      m: actions.mic, v: actions.cam, s: actions.share, c: actions["chat-toggle"], t: actions["captions-toggle"],
      l: actions.leave,
    });
  }

  open() {
    this.#names.clear();
    this.#timer = setInterval(() => this.#renderTimer(), 500);
    this.render();
  }

  close() {
    clearInterval(this.#timer);
    byId("devices-dialog").close();
    this.chat.clear();
    this.captions.clear();
    this.speech.stop();
    this.#tiles.clear();
  }

  render() {
    const { call, media } = this.#client;
    if (!call) return;
    const people = this.#client.people();
    this.#tiles.render(people, media);
    this.#announceChanges(people);
    setText(byId("room-name"), call.roomId);
    const badge = byId("mode-badge");
    const { mode } = call.epochs;
    setText(badge, people.length > 1 ? mode.toUpperCase() : "Waiting for others");
    badge.dataset.mode = people.length > 1 ? mode : "";
    badge.title = people.length > 1 ? MODE_TITLES[mode] : "Send the link to whom you want to meet";
    this.#startedAt = call.startedAt;
    toggleButton(byId("mic"), media.on.microphone, "mic", "Microphone");
    toggleButton(byId("cam"), media.on.camera, "cam", "Camera");
    byId("share").setAttribute("aria-pressed", String(media.on.screen));
    byId("share").setAttribute("aria-label", media.on.screen ? "Stop sharing your screen" : "Share your screen");
    byId("share").classList.toggle("active", media.on.screen);
    this.captions.render(call.captions === "store");
    this.speech.render();
    this.#renderTimer();
  }

  #renderTimer() {
    const seconds = this.#startedAt ? Math.max(0, Math.floor((Date.now() - this.#startedAt) / 1000)) : null;
    setText(byId("timer"), seconds === null ? "" : clock(seconds));
  }

  #announceChanges(people) {
    const now = new Map(people.filter((one) => !one.self && !one.orphan).map((one) => [one.participantId, one.name]));
    announceThem([...now].filter(([id]) => !this.#names.has(id)), "joined");
    announceThem([...this.#names].filter(([id]) => !now.has(id)), "left");
    this.#names = now;
    const screen = people.some((one) => one.screenShareEnabled);
    if (screen !== this.#wasScreen) announce(screen ? "A screen is shared" : "Screen sharing ended");
    this.#wasScreen = screen;
  }

  async #copyLink() {
    const link = new URL(location.origin);
    link.searchParams.set("room", this.#client.call.roomId);
    try {
      await navigator.clipboard.writeText(link.href);
      banner("link", { text: "Link copied.", detail: link.href, tone: "good", forMs: 4_000 });
    } catch {
      banner("link", { text: "Copy this link:", detail: link.href });
    }
  }

  #wireKeys(keys) {
    document.addEventListener("keydown", (event) => {
      if (document.body.dataset.view !== "call") return;
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
      if (event.key === "Escape" && this.chat.open) return this.chat.toggle(false);
      if (event.target.closest("input, textarea, select, dialog[open]")) return;
      const action = keys[event.key.toLowerCase()];
      if (!action) return;
      event.preventDefault();
      action();
    });
  }
}

function announceThem(people, did) {
  if (people.length > 3) return announce(`${people.length} people ${did}`);
  for (const [, name] of people) announce(`${name || "Guest"} ${did}`);
}

function clock(seconds) {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return [...(h ? [h] : []), h ? String(m).padStart(2, "0") : m, String(s).padStart(2, "0")].join(":");
}
