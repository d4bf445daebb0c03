/** The three outgoing m-lines of a connection, and the tracks that they should carry. */

export const SOURCES = ["microphone", "camera", "screen"]; // the order of the m-lines, everywhere
export const KIND_OF = { microphone: "audio", camera: "video", screen: "video" };

export class Senders {
  #slots = new Map(); // source -> {sender, wanted, busy}
  #cap = null;
  #limit = { camera: null, screen: null };

  bind(source, sender) {
    this.#slots.set(source, { sender, wanted: null, busy: false });
  }

  /**
   * Sends these tracks from now on; null stops one (`replaceTrack(null)`: `encodings.active` is not in every browser).
   * @param {Record<string, MediaStreamTrack | null>} tracks
   * @param {string[]} sources which of them; the others stop
   */
  want(tracks, sources) {
    for (const [source, slot] of this.#slots) {
      slot.wanted = sources.includes(source) ? tracks[source] : null;
      this.#settle(slot);
    }
  }

  /** One replaceTrack at a time, always towards what is wanted by then. */
  async #settle(slot) {
    if (slot.busy) return;
    slot.busy = true;
    try {
      while (slot.sender.track !== slot.wanted) await slot.sender.replaceTrack(slot.wanted);
    } catch (error) {
      if (error.name !== "InvalidStateError") throw error; // the connection was closed meanwhile
    } finally {
      slot.busy = false;
    }
  }

  /** Caps the video below the usual limit while a second path is sent too; null lifts it. Bits per second. */
  cap(bps) {
    if (this.#cap === bps) return;
    this.#cap = bps;
    this.#applyLimits();
  }

  /** The usual limits of the video in bits per second, null for none. */
  limit(limits) {
    if (limits.camera === this.#limit.camera && limits.screen === this.#limit.screen) return;
    this.#limit = { ...limits };
    this.#applyLimits();
  }

  #applyLimits() {
    for (const source of ["camera", "screen"]) {
      const sender = this.#slots.get(source)?.sender;
      const bounds = [this.#cap, this.#limit[source]].filter((bps) => bps !== null);
      if (sender) setMaxBitrate(sender, bounds.length ? Math.min(...bounds) : null);
    }
  }
}

async function setMaxBitrate(sender, bps) {
  const parameters = sender.getParameters();
  if (!parameters.encodings?.length) return; // before the first negotiation there is nothing to limit
  for (const encoding of parameters.encodings) {
    if (bps === null) delete encoding.maxBitrate;
    else encoding.maxBitrate = bps;
  }
  try {
    await sender.setParameters(parameters);
  } catch {
    // Closed, or changed under us by a negotiation: a limit is a courtesy, the next change sets it again.
  }
}

/** Puts `mimeType` ("VP9", "video/VP9") first among the codecs of a video transceiver; unknown ones change nothing. */
export function preferCodec(transceiver, name) {
  if (!name || !transceiver.setCodecPreferences) return;
  const mimeType = (name.includes("/") ? name : `video/${name}`).toLowerCase();
  const codecs = RTCRtpReceiver.getCapabilities("video")?.codecs ?? [];
  const first = codecs.filter((codec) => codec.mimeType.toLowerCase() === mimeType);
  if (!first.length) return;
  transceiver.setCodecPreferences([...first, ...codecs.filter((codec) => !first.includes(codec))]);
}
