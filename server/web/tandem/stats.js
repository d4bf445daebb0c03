/** The quality report of docs/protocol.md (`stats`), and how well each participant comes through. */

const BARS = [
  // [bars, most loss, most rtt in ms]: the first line that holds
  [4, 0.015, 250],
  [3, 0.04, 450],
  [2, 0.1, 900],
];

/** Sums up what connections report. Connections may come and go: totals only grow. */
export class StatsReporter {
  #seen = new WeakMap(); // RTCPeerConnection -> Map(report id -> its counters)
  #sent = 0;
  #received = 0;
  #freezes = 0;
  #last = null;

  /**
   * @param {{pc: RTCPeerConnection}[]} connections all that are open
   * @param {{path: string, iceFailures: number}} about
   * @returns {Promise<{report: object, inbound: Map<string, {loss: number, frozen: boolean}>, rttMs: number | null}>}
   *   `report` is a ClientStats; `inbound` is keyed by track identifier
   */
  async collect(connections, { path, iceFailures }) {
    const sum = { lost: 0, got: 0, jitters: [], rtts: [], bytes: 0, inbound: new Map() };
    for (const { pc } of connections) {
      let reports;
      try {
        reports = [...(await pc.getStats()).values()];
      } catch {
        continue; // closed meanwhile
      }
      this.#add(pc, reports, sum);
    }
    const now = performance.now();
    const seconds = this.#last === null ? null : (now - this.#last) / 1000;
    this.#last = now;
    const packets = sum.lost + sum.got;
    const rttMs = sum.rtts.length ? Math.max(...sum.rtts) * 1000 : null;
    const report = {
      packetLoss: packets ? clamp(sum.lost / packets, 1) : null,
      jitterMs: sum.jitters.length ? clamp(Math.max(...sum.jitters) * 1000, 60_000) : null,
      rttMs: rttMs === null ? null : clamp(rttMs, 60_000),
      bitrateKbps: seconds ? clamp((sum.bytes * 8) / 1000 / seconds, 10_000_000) : null,
      bytesSent: this.#sent,
      bytesReceived: this.#received,
      freezes: this.#freezes,
      iceFailures,
      path,
    };
    return { report, inbound: sum.inbound, rttMs };
  }

  #add(pc, reports, sum) {
    if (!this.#seen.has(pc)) this.#seen.set(pc, new Map());
    const before = this.#seen.get(pc);
    const byId = new Map(reports.map((report) => [report.id, report]));
    for (const report of reports) {
      const grown = (name) => Math.max(0, (report[name] ?? 0) - (before.get(report.id)?.[name] ?? 0));
      if (report.type === "inbound-rtp") {
        const names = ["packetsLost", "packetsReceived", "bytesReceived", "freezeCount"];
        const [lost, got, bytes, freezes] = names.map(grown);
        sum.lost += lost;
        sum.got += got;
        sum.bytes += bytes;
        this.#received += bytes;
        this.#freezes += freezes;
        if (got && report.jitter !== undefined) sum.jitters.push(report.jitter);
        if (got) {
          sum.inbound.set(report.trackIdentifier, { loss: lost / (lost + got), frozen: freezes > 0 });
        }
      } else if (report.type === "outbound-rtp") {
        const bytes = grown("bytesSent");
        sum.bytes += bytes;
        this.#sent += bytes;
      } else if (report.type === "transport") {
        const pair = byId.get(report.selectedCandidatePairId);
        if (pair?.currentRoundTripTime !== undefined) sum.rtts.push(pair.currentRoundTripTime);
      } else {
        continue;
      }
      before.set(report.id, report);
    }
  }
}

/** Bars, 1 (bad) to 4, for one participant; null when nothing came in. */
export function bars(inbound, rttMs) {
  if (!inbound.length) return null;
  if (inbound.some((one) => one.frozen)) return 1;
  const loss = Math.max(...inbound.map((one) => one.loss));
  return BARS.find(([, most, rtt]) => loss <= most && (rttMs ?? 0) <= rtt)?.[0] ?? 1;
}

/** "udp" or "tcp": how a connection's packets go, or null while it is down. */
export async function protocolOf(pc) {
  try {
    const reports = await pc.getStats();
    for (const report of reports.values()) {
      if (report.type !== "transport") continue;
      const pair = reports.get(report.selectedCandidatePairId);
      return reports.get(pair?.localCandidateId)?.protocol ?? null;
    }
  } catch {
    // closed meanwhile
  }
  return null;
}

function clamp(value, most) {
  return Math.min(most, Math.max(0, Math.round(value * 1000) / 1000));
}
