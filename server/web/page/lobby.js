/** Before the call: look at yourself, say who you are, choose a room. */
import { byId, setIcon } from "./dom.js";
import { DeviceFields } from "./devices.js";
import { asRoom, paintAvatar, prettyRoom } from "./names.js";

const NAME_KEY = "tandem.name";

export class Lobby {
  #client;
  #onjoin;
  #meter = null;

  /** @param {{client: Tandem, renderer: PageRenderer, onjoin: (room: string, name: string) => Promise<void>}} of */
  constructor({ client, renderer, onjoin }) {
    this.#client = client;
    this.#onjoin = onjoin;
    this.fields = new DeviceFields(byId("lobby-devices"), client, renderer);
    byId("join-form").onsubmit = (event) => this.#submit(event);
    byId("new-room").onclick = () => (byId("room").value = prettyRoom());
    byId("room").onchange = ({ target }) => (target.value = asRoom(target.value));
    byId("name").oninput = () => this.render();
    byId("lobby-mic").onclick = () => client.setMicrophone(!client.media.on.microphone);
    byId("lobby-cam").onclick = () => client.setCamera(!client.media.on.camera);
  }

  open({ room, name }) {
    byId("name").value = name || localStorage.getItem(NAME_KEY) || "";
    byId("room").value = asRoom(room ?? "") || prettyRoom();
    byId("lobby-lead").textContent = room ? `You are invited to “${room}”.` : "Video calls on your own server.";
    byId("join").disabled = false;
    this.fields.refresh();
    this.render();
    const level = byId("lobby-level");
    clearInterval(this.#meter);
    this.#meter = setInterval(() => (level.style.width = `${Math.min(100, this.#client.media.level() * 400)}%`), 100);
    if (!byId("name").value) byId("name").focus();
    else byId("join").focus();
  }

  close() {
    clearInterval(this.#meter);
    byId("preview-video").srcObject = null;
  }

  render() {
    const { tracks, on } = this.#client.media;
    const video = byId("preview-video");
    if ((video.srcObject?.getTracks()[0] ?? null) !== tracks.camera) {
      video.srcObject = tracks.camera ? new MediaStream([tracks.camera]) : null;
    }
    byId("preview").classList.toggle("video", on.camera);
    paintAvatar(byId("preview-avatar"), byId("name").value || "You");
    toggleButton(byId("lobby-mic"), on.microphone, "mic", "Microphone");
    toggleButton(byId("lobby-cam"), on.camera, "cam", "Camera");
  }

  async #submit(event) {
    event.preventDefault();
    const [name, room] = [byId("name").value.trim(), asRoom(byId("room").value)];
    if (!name || !room) return;
    localStorage.setItem(NAME_KEY, name);
    byId("join").disabled = true;
    try {
      await this.#onjoin(room, name);
    } finally {
      byId("join").disabled = false;
    }
  }
}

/** A round button that shows and says whether something is on. */
export function toggleButton(button, on, name, label) {
  setIcon(button, on ? name : `${name}-off`);
  button.classList.toggle("off", !on);
  button.setAttribute("aria-pressed", String(on));
  button.setAttribute("aria-label", `${label} ${on ? "on" : "off"}`);
}
