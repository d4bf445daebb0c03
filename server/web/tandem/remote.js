/**
 * Another participant, and which of their paths is seen and heard.
 *
 * `reconcile` is told what paths there are and which kind is wanted, and gets there: it attaches a view to a new path,
 * has a `PairSwitch` watch it, swaps, and lets the old view go when nothing can roll back any more. It may be called
 * at any time and any number of times.
 */
import { GapMeter } from "./gaps.js";
import { PairSwitch } from "./pairswitch.js";

const MEASURED_AFTER_MS = 2_000;

export class Remote {
  #renderer;
  #views = new Map(); // Path -> View, of the active path and of one that may take over
  #switch = null;
  #meter = null;
  #meterTimer = null;
  #reported = -1;

  /**
   * @param {object} info ParticipantInfo
   * @param {object} renderer see docs/client.md
   */
  constructor(info, renderer) {
    this.info = info;
    this.#renderer = renderer;
    this.hooks = null; // {swapped(remote, epoch), measured(remote, epoch, gaps)}: of the call it is in
    this.active = null;
    this.speaking = false;
    this.quality = null; // 1 (bad) to 4, null while unknown
  }

  get id() {
    return this.info.participantId;
  }

  /** New information about the same person, perhaps under a new id after the server has restarted. */
  update(info) {
    const before = this.info;
    this.info = info;
    if (before.participantId !== info.participantId) {
      this.#renderer.rename(before.participantId, info.participantId);
    }
    if (before.audioEnabled !== info.audioEnabled || before.videoEnabled !== info.videoEnabled) {
      this.#meter?.interrupt();
    }
    for (const [path, view] of this.#views) {
      path.participantId = info.participantId;
      view.refresh();
    }
  }

  /** The same person in a new call, whose epochs count from the beginning. */
  moveTo(hooks) {
    this.hooks = hooks;
    this.#reported = -1;
    this.#stopSwitch();
    clearTimeout(this.#meterTimer);
    this.#meter = null;
  }

  /** A switch begins: from now on its cost is measured. */
  prepared() {
    clearTimeout(this.#meterTimer);
    this.#meter = this.active ? new GapMeter(this.active) : null;
  }

  /**
   * @param {Path[]} paths all that exist for this participant, the newest of a kind first
   * @param {Epochs} epochs
   */
  reconcile(paths, epochs) {
    const open = paths.filter((path) => !path.closed);
    for (const path of [...this.#views.keys()]) if (!open.includes(path)) this.#forget(path);
    const want = open.find((path) => path.kind === epochs.target && !path.connection.legacy) ?? null;
    if (this.#switch && this.#switch.to !== want) this.#stopSwitch();
    if (!this.active && open.length) this.#show(want ?? open[0]);
    if (epochs.pending && want && this.active === want && !want.alive) this.#rollBack(open, want);
    if (want && !this.#switch && (this.active !== want || this.#unreported(epochs, want))) this.#begin(want, epochs);
    if (!epochs.pending) this.#forgetIdle();
    for (const view of this.#views.values()) view.refresh();
  }

  close() {
    this.#stopSwitch();
    clearTimeout(this.#meterTimer);
    this.#meter = null;
    for (const path of [...this.#views.keys()]) this.#forget(path);
    this.#renderer.remove(this.id);
  }

  // ---- the swap -------------------------------------------------------------------------------------------------

  #unreported(epochs, path) {
    const epoch = epochs.reportFor(path.kind);
    return epoch !== null && epoch !== this.#reported;
  }

  #begin(want, epochs) {
    const view = this.#view(want);
    const needs = () => ({
      audio: this.info.audioEnabled,
      video: this.info.videoEnabled,
      screen: this.info.screenShareEnabled && (this.active?.has("screen") ?? false),
    });
    this.#switch = new PairSwitch({
      to: want,
      view,
      needs,
      alone: this.active === want,
      onready: () => {
        this.#switch = null;
        if (this.active !== want) this.#show(want);
        this.#report(want, epochs);
        if (!epochs.pending) this.#forgetIdle();
      },
    });
  }

  #report(path, epochs) {
    const epoch = epochs.reportFor(path.kind);
    if (epoch === null || epoch === this.#reported) return;
    this.#reported = epoch;
    this.hooks.swapped(this, epoch);
    const meter = this.#meter;
    if (!meter) return; // a pair that the switch found without media has lost none by it
    this.#meterTimer = setTimeout(async () => {
      const gaps = await meter.finish();
      if (this.#meter !== meter) return;
      this.#meter = null;
      this.hooks.measured(this, epoch, gaps);
    }, MEASURED_AFTER_MS);
  }

  /** Shows and unmutes `path` and hides and mutes what was active, in this task. */
  #show(path) {
    const from = this.active ? this.#views.get(this.active) : null;
    this.#renderer.show(this.#view(path), from ?? null);
    this.active = path;
    this.#meter?.swap(path);
  }

  /** The new path was lost before the commit: the old one still carries media. */
  #rollBack(open, want) {
    const old = open.find((path) => path !== want && path.alive);
    if (old) this.#show(old);
  }

  #stopSwitch() {
    this.#switch?.cancel();
    this.#switch = null;
  }

  // ---- views ----------------------------------------------------------------------------------------------------

  #view(path) {
    let view = this.#views.get(path);
    if (!view) {
      view = this.#renderer.attach(path);
      view.onframe = (at, continuous) => this.#presented(path, at, continuous);
      this.#views.set(path, view);
    }
    return view;
  }

  #presented(path, at, continuous) {
    if (this.#switch?.to === path) this.#switch.frame();
    if (this.active === path) this.#meter?.frame(at, continuous);
  }

  #forget(path) {
    this.#views.get(path)?.detach();
    this.#views.delete(path);
    if (this.#switch?.to === path) this.#stopSwitch();
    if (this.active === path) this.active = null;
  }

  #forgetIdle() {
    for (const path of [...this.#views.keys()]) {
      if (path !== this.active && path !== this.#switch?.to) this.#forget(path);
    }
  }
}
