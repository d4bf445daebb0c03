/** Who gets a tile when more people are in the call than the page can show. Pure. */

const LEAST = 9;
const MOST = 36;
const TILE_AREA = 16_000; // CSS pixels: smaller ones show nobody
const STRIP_TILE = 90; // beside a shared screen, along the strip

/** How many tiles for people an area of this size takes. */
export function capacity(width, height, { screens }) {
  if (screens) return Math.max(3, Math.floor(Math.max(width, height) / STRIP_TILE));
  return Math.max(LEAST, Math.min(MOST, Math.floor((width * height) / TILE_AREA)));
}

/**
 * @param {object[]} people as `Tandem.people()` gives them
 * @param {number} capacity of the page
 * @param {Set<string>} before the participant ids of those who had a tile: they keep it before their equals
 * @returns {{shown: object[], more: number}} in the order of `people`; `more` are the others, and take a tile too
 */
export function choose(people, capacity, before) {
  if (people.length <= capacity) return { shown: people, more: 0 };
  const ranked = people.map((one, index) => ({ one, index, rank: rank(one) - (before.has(one.participantId) ? 0.5 : 0) }));
  ranked.sort((a, b) => a.rank - b.rank || a.index - b.index);
  const chosen = ranked.slice(0, capacity - 1).sort((a, b) => a.index - b.index);
  return { shown: chosen.map(({ one }) => one), more: people.length - chosen.length };
}

function rank(one) {
  if (one.self) return 0;
  if (one.speaking) return 1;
  if (one.screenShareEnabled) return 2;
  if (one.videoEnabled) return 3;
  return one.audioEnabled ? 4 : 5;
}
