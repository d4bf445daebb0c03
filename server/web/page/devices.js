/** Choosing devices: the same fields in the lobby and in the call. */
import { byId, el } from "./dom.js";

const LABELS = { audioinput: "Microphone", videoinput: "Camera", audiooutput: "Speaker" };
const SOURCE_OF = { audioinput: "microphone", videoinput: "camera" };

/** Fills `container` with a select for each kind of device that there is, and keeps it true. */
export class DeviceFields {
  #container;
  #client;
  #renderer;
  #selects = new Map();

  constructor(container, client, renderer) {
    this.#container = container;
    this.#client = client;
    this.#renderer = renderer;
    client.media.addEventListener("devices", () => this.refresh());
    client.media.addEventListener("change", () => this.refresh());
  }

  async refresh() {
    const devices = await this.#client.media.devices();
    for (const kind of Object.keys(LABELS)) {
      if (kind === "audiooutput" && !("setSinkId" in HTMLMediaElement.prototype)) continue;
      this.#fill(kind, devices.filter((device) => device.kind === kind && device.label));
    }
  }

  #fill(kind, devices) {
    let select = this.#selects.get(kind);
    if (!select) {
      select = el("select");
      select.onchange = () => this.#choose(kind, select.value);
      this.#selects.set(kind, select);
      this.#container.append(el("label", "", LABELS[kind], select));
    }
    select.parentElement.hidden = !devices.length;
    const wanted = devices.map((device) => `${device.deviceId}\n${device.label}`).join("\n");
    if (select.dataset.devices !== wanted) {
      select.dataset.devices = wanted;
      select.replaceChildren(...devices.map((device) => new Option(device.label, device.deviceId)));
    }
    const current = kind === "audiooutput" ? this.#renderer.sink : this.#client.media.deviceOf(SOURCE_OF[kind]);
    if (current && select.value !== current) select.value = current;
  }

  async #choose(kind, deviceId) {
    if (kind === "audiooutput") await this.#renderer.setOutput(deviceId);
    else await this.#client.useDevice(SOURCE_OF[kind], deviceId);
  }
}

/** The dialog in the call. */
export function openDevices(fields) {
  const dialog = byId("devices-dialog");
  fields.refresh();
  dialog.showModal();
}

export function wireDialogs() {
  for (const button of document.querySelectorAll("[data-close]")) {
    button.onclick = () => button.closest("dialog").close();
  }
  for (const dialog of document.querySelectorAll("dialog.sheet")) {
    dialog.onclick = (event) => {
      if (event.target === dialog) dialog.close(); // a click beside it
    };
  }
}
