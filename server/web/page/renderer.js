/**
 * Plays paths in <video> elements: the page's side of a switch (docs/client.md, "The renderer").
 *
 * Each view owns one element for camera and microphone, and one for a shared screen while there is one. During a switch
 * a participant has two views; the one that is not active lies under the other, muted, and renders.
 */
import { el } from "./dom.js";

/** One path in the page. */
class View {
  #renderer;
  #hiddenSinceFrame = false;
  #onVisibility = () => {
    if (document.hidden) this.#hiddenSinceFrame = true;
  };

  constructor(renderer, path) {
    this.#renderer = renderer;
    this.path = path;
    this.frames = 0;
    this.screenFrames = 0;
    this.onframe = null;
    this.active = false;
    this.camera = this.#element("camera", path.stream);
    this.screen = null;
    document.addEventListener("visibilitychange", this.#onVisibility);
    this.refresh();
  }

  /** Whether presented frames can be expected: browsers present nothing in hidden pages. */
  get visible() {
    return !document.hidden && "requestVideoFrameCallback" in HTMLVideoElement.prototype;
  }

  refresh() {
    const { path } = this;
    const id = path.participantId;
    this.camera.dataset.participantId = id;
    this.#renderer.tiles.place(this.camera, id, "camera");
    const shares = path.has("screen") && this.#renderer.sharesScreen(id);
    if (shares && !this.screen) {
      this.screen = this.#element("screen", path.screenStream);
      this.#mark();
    } else if (!shares && this.screen) {
      this.#renderer.tiles.displace(this.screen);
      this.screen.srcObject = null;
      this.screen = null;
      this.screenFrames = 0;
    }
    if (this.screen) {
      this.screen.dataset.participantId = id;
      this.#renderer.tiles.place(this.screen, id, "screen");
    }
  }

  setActive(active) {
    this.active = active;
    this.#mark();
    this.camera.muted = !active || this.#renderer.silenced;
    if (active) this.play();
  }

  /** Browsers may refuse sound until the user has touched the page: then the picture goes on and the page asks. */
  async play() {
    for (const video of [this.camera, this.screen]) {
      if (!video?.paused) continue;
      try {
        await video.play();
      } catch (error) {
        if (error.name !== "NotAllowedError" || !this.active) continue;
        this.#renderer.silence();
      }
    }
  }

  detach() {
    document.removeEventListener("visibilitychange", this.#onVisibility);
    this.onframe = null;
    for (const video of [this.camera, this.screen]) {
      if (!video) continue;
      video.srcObject = null;
      this.#renderer.tiles.displace(video);
    }
    this.#renderer.forget(this);
  }

  #element(source, stream) {
    const video = el("video");
    video.autoplay = video.playsInline = video.muted = true;
    video.disablePictureInPicture = source === "camera";
    video.dataset.source = source;
    video.dataset.path = this.path.kind;
    video.dataset.active = "false";
    video.srcObject = stream;
    video.addEventListener("pause", () => this.play());
    this.#follow(video, source);
    video.play().catch(() => {}); // a stream without tracks yet; it plays by itself when they come
    return video;
  }

  #follow(video, source) {
    const presented = (now, { presentationTime }) => {
      if (video.srcObject === null) return;
      video.requestVideoFrameCallback(presented);
      if (source === "screen") {
        this.screenFrames += 1;
        return;
      }
      this.frames += 1;
      const continuous = !this.#hiddenSinceFrame;
      this.#hiddenSinceFrame = document.hidden;
      this.onframe?.(presentationTime ?? now, continuous);
      if (this.active) this.#renderer.tiles.framed(this.path.participantId);
    };
    video.requestVideoFrameCallback?.(presented);
  }

  #mark() {
    for (const video of [this.camera, this.screen]) if (video) video.dataset.active = String(this.active);
  }
}

export class PageRenderer {
  #views = new Set();

  /**
   * @param {Tiles} tiles
   * @param {{sharesScreen: (id: string) => boolean, onsilence: () => void}} of onsilence: sound needs a click
   */
  constructor(tiles, { sharesScreen, onsilence }) {
    this.tiles = tiles;
    this.sharesScreen = sharesScreen;
    this.onsilence = onsilence;
    this.silenced = false;
    this.sink = null;
  }

  attach(path) {
    const view = new View(this, path);
    this.#views.add(view);
    if (this.sink) view.camera.setSinkId?.(this.sink).catch(() => {});
    return view;
  }

  /** Shows `to` and hides `from` in one task: nobody is heard twice, nothing is seen between. */
  show(to, from) {
    from?.setActive(false);
    to.setActive(true);
  }

  rename(from, to) {
    this.tiles.rename(from, to);
  }

  remove(participantId) {
    this.tiles.remove(participantId);
  }

  forget(view) {
    this.#views.delete(view);
  }

  /** Sound was refused: everybody is muted until `unsilence`, which a click may call. */
  silence() {
    if (this.silenced) return;
    this.silenced = true;
    for (const view of this.#views) {
      view.camera.muted = true;
      view.play();
    }
    this.onsilence();
  }

  unsilence() {
    this.silenced = false;
    for (const view of this.#views) if (view.active) view.setActive(true);
  }

  /** Plays on this output device ("" is the default) from now on. */
  async setOutput(deviceId) {
    this.sink = deviceId;
    await Promise.all([...this.#views].map((view) => view.camera.setSinkId?.(deviceId)));
  }
}
