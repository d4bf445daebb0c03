/** The tiles: one per participant and one per shared screen. Elements are never moved once they play. */
import { capacity, choose } from "./choose.js";
import { el, icon, setText } from "./dom.js";
import { layout } from "./layout.js";
import { paintAvatar } from "./names.js";

const PICTURE_PATIENCE_MS = 1_500;
const BAR_TITLES = ["", "Bad connection", "Weak connection", "Good connection", "Very good connection"];

class Tile {
  constructor(role) {
    this.role = role;
    this.videos = el("div", "videos");
    this.avatar = el("div", "avatar");
    this.avatar.setAttribute("aria-hidden", "true");
    this.name = el("span", "tile-name");
    this.micOff = el("span", "tile-muted", icon("mic-off"));
    this.micOff.title = "Muted";
    this.bars = el("span", "bars", el("i"), el("i"), el("i"), el("i"));
    this.path = el("span", "tile-path");
    this.note = el("div", "tile-note");
    this.label = el("div", "tile-label", this.micOff, this.name, this.path, this.bars);
    this.root = el("div", `tile ${role}`, this.videos, this.avatar, this.note, this.label);
    this.root.setAttribute("role", "listitem");
    this.waitsForFrame = true;
  }

  /** @param {object} view name, self, alone, audioEnabled, videoEnabled, status, path, speaking, quality */
  render(view) {
    const classes = this.root.classList;
    paintAvatar(this.avatar, view.name || "Guest");
    setText(this.name, view.self ? `${view.name || "You"} (you)` : view.name || "Guest");
    if (!view.videoEnabled) this.waitsForFrame = true;
    else if (this.waitsForFrame && !classes.contains("video")) {
      // A picture from before would flash up: wait for a fresh one, but not for ever.
      setTimeout(() => this.framed(), view.self ? 0 : PICTURE_PATIENCE_MS);
    }
    classes.toggle("video", view.videoEnabled);
    classes.toggle("fresh", view.videoEnabled && !this.waitsForFrame);
    classes.toggle("speaking", view.speaking);
    classes.toggle("away", view.status === "reconnecting");
    this.micOff.hidden = view.audioEnabled;
    setText(this.note, this.#noteFor(view));
    setText(this.path, view.path ? view.path.toUpperCase() : "");
    this.bars.dataset.bars = view.quality ?? "";
    this.bars.hidden = view.self || view.quality === null;
    this.bars.title = BAR_TITLES[view.quality ?? 0];
  }

  framed() {
    if (!this.root.classList.contains("video")) return;
    this.waitsForFrame = false;
    this.root.classList.add("fresh");
  }

  #noteFor(view) {
    if (view.alone) return "Nobody else is here yet: send them the link.";
    if (view.status === "reconnecting") return view.self ? "" : "Reconnecting…";
    // In a large call who has never sent anything has no path, and needs none.
    const sends = view.audioEnabled || view.videoEnabled;
    if (!view.self && view.path === null && (sends || view.status === "connecting")) return "Connecting…";
    return "";
  }
}

export class Tiles {
  #root;
  #tiles = new Map(); // key -> Tile; the key is "self", a participant id, or "screen:" and an id
  #self = null;
  #selfVideo = el("video");
  #selfScreen = el("video");
  #shown = new Set(); // participant ids of those who have a tile to be seen
  #more = el("div", "tile more fresh"); // how many have none

  constructor(root) {
    this.#root = root;
    for (const video of [this.#selfVideo, this.#selfScreen]) video.autoplay = video.playsInline = video.muted = true;
    this.#selfVideo.className = "mirrored";
    new ResizeObserver(() => this.arrange()).observe(root);
  }

  // ---- for the renderer -----------------------------------------------------------------------------------------

  /** Puts a remote video element into its tile; under the one in view, if it is not active. */
  place(video, participantId, source) {
    const videos = this.#tile(keyOf(participantId, source), source === "screen" ? "screen" : "remote").videos;
    if (video.parentNode !== videos) videos.append(video);
  }

  displace(video) {
    video.remove();
    this.#dropEmptyScreens();
  }

  framed(participantId) {
    this.#tiles.get(participantId)?.framed();
  }

  remove(participantId) {
    for (const key of [participantId, keyOf(participantId, "screen")]) this.#drop(key);
    this.arrange();
  }

  // ---- for the page ---------------------------------------------------------------------------------------------

  /** A participant's tile goes on under another id. */
  rename(from, to) {
    for (const source of ["camera", "screen"]) {
      const [old, key] = [keyOf(from, source), keyOf(to, source)];
      if (!this.#tiles.has(old) || this.#tiles.has(key)) continue;
      this.#tiles.set(key, this.#tiles.get(old));
      this.#tiles.delete(old);
    }
  }

  /** @param {object[]} participants as `Tile.render` takes them; @param {LocalMedia} media for one's own tile */
  render(participants, media) {
    const present = new Set(participants.map(keyOfPerson));
    const { shown, more } = this.#choose(participants);
    for (const one of shown) {
      const view = { ...one, alone: participants.length === 1 };
      this.#tile(view.self ? "self" : view.participantId, view.self ? "self" : "remote").render(view);
      const shared = this.#tiles.get(keyOf(view.participantId, "screen"));
      if (shared) {
        const still = { alone: false, speaking: false, path: "", quality: null };
        shared.render({ ...view, ...still, videoEnabled: true, audioEnabled: true });
        setText(shared.name, view.self ? "Your screen" : `${view.name}'s screen`);
      }
    }
    const seen = new Set(shown.map(keyOfPerson));
    for (const [key, tile] of this.#tiles) {
      if (tile.role === "screen") continue;
      tile.root.hidden = !seen.has(key);
      // One that plays stays where it is: it is heard, and not moved.
      if (!present.has(key) || (tile.root.hidden && !tile.videos.childElementCount)) this.#drop(key);
    }
    this.#renderMore(more);
    this.#renderSelf(media, participants.find((view) => view.self));
    this.#dropEmptyScreens();
    this.arrange();
  }

  clear() {
    for (const key of [...this.#tiles.keys()]) this.#drop(key);
    this.#renderMore(0);
    this.#selfVideo.srcObject = this.#selfScreen.srcObject = null;
  }

  arrange() {
    const { clientWidth, clientHeight } = this.#root;
    if (!clientWidth || !clientHeight) return;
    const seen = [...this.#tiles].filter(([, { root }]) => !root.hidden).map(([id, { role, root }]) => ({ id, role, root }));
    if (this.#more.isConnected) seen.push({ id: "more", role: "remote", root: this.#more });
    const places = layout(clientWidth, clientHeight, seen);
    for (const { id, root } of seen) {
      const { x, y, width, height, pip } = places.get(id);
      root.classList.toggle("pip", pip);
      root.classList.toggle("small", width < 220);
      Object.assign(root.style, { transform: `translate(${x}px, ${y}px)`, width: `${width}px`, height: `${height}px` });
    }
  }

  #choose(participants) {
    const { clientWidth, clientHeight } = this.#root;
    const screens = [...this.#tiles.values()].some((tile) => tile.role === "screen");
    const found = choose(participants, capacity(clientWidth, clientHeight, { screens }), this.#shown);
    this.#shown = new Set(found.shown.map((one) => one.participantId));
    return found;
  }

  #renderMore(count) {
    setText(this.#more, count ? `+${count}` : "");
    this.#more.setAttribute("role", "listitem");
    this.#more.setAttribute("aria-label", `${count} more people`);
    if (count && !this.#more.isConnected) this.#root.append(this.#more);
    if (!count) this.#more.remove();
  }

  #renderSelf(media, self) {
    if (!self) return;
    this.#self = self.participantId;
    show(this.#selfVideo, media.tracks.camera);
    const tile = this.#tile("self", "self");
    if (this.#selfVideo.parentNode !== tile.videos) tile.videos.append(this.#selfVideo);
    show(this.#selfScreen, media.tracks.screen);
    const key = keyOf(self.participantId, "screen");
    if (media.tracks.screen) {
      const screen = this.#tile(key, "screen");
      if (this.#selfScreen.parentNode !== screen.videos) screen.videos.append(this.#selfScreen);
      screen.root.classList.add("video", "fresh");
      screen.micOff.hidden = true;
      screen.bars.hidden = true;
      setText(screen.name, "Your screen");
    } else {
      this.#selfScreen.remove();
    }
  }

  #tile(key, role) {
    let tile = this.#tiles.get(key);
    if (!tile) {
      tile = new Tile(role);
      this.#tiles.set(key, tile);
      this.#root.append(tile.root);
      this.arrange();
    }
    return tile;
  }

  #drop(key) {
    this.#tiles.get(key)?.root.remove();
    this.#tiles.delete(key);
  }

  #dropEmptyScreens() {
    for (const [key, tile] of this.#tiles) {
      if (tile.role === "screen" && !tile.videos.childElementCount) this.#drop(key);
    }
  }
}

function keyOfPerson({ self, participantId }) {
  return self ? "self" : participantId;
}

function keyOf(participantId, source) {
  return source === "screen" ? `screen:${participantId}` : participantId;
}

/** Shows one local track in an element, without touching it when it is the same. */
function show(video, track) {
  const current = video.srcObject?.getVideoTracks()[0] ?? null;
  if (current === track) return;
  video.srcObject = track ? new MediaStream([track]) : null;
}
