/** The renderer of a client without a page: it plays nothing, so a path takes over as soon as it is decoded. */
export class HeadlessRenderer {
  attach() {
    return { frames: 0, screenFrames: 0, visible: false, onframe: null, refresh() {}, detach() {} };
  }

  show() {}

  rename() {}

  remove() {}
}
