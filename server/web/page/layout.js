/** Where the tiles go: pure arithmetic, in CSS pixels. */

const GAP = 8;
const WIDEST = 16 / 9;
const NARROWEST_UPRIGHT = 3 / 4;
const NARROWEST_WIDE = 4 / 3; // cameras are wide: narrower tiles would cut off too much where there is room

/**
 * @param {number} width of the area
 * @param {number} height of the area
 * @param {{id: string, role: "self" | "remote" | "screen"}[]} tiles in order
 * @returns {Map<string, {x: number, y: number, width: number, height: number, pip: boolean}>}
 */
export function layout(width, height, tiles) {
  const placed = new Map();
  const screens = tiles.filter((tile) => tile.role === "screen");
  const people = tiles.filter((tile) => tile.role === "remote");
  const self = tiles.filter((tile) => tile.role === "self");
  if (screens.length) {
    const [stage, strip] = split(width, height);
    grid(stage, screens, placed, { fill: true });
    grid(strip, [...people, ...self], placed, { line: true });
  } else if (people.length === 1 && self.length) {
    grid({ x: 0, y: 0, width, height }, people, placed, { fill: true });
    placed.set(self[0].id, { ...corner(width, height), pip: true });
  } else {
    const all = [...people, ...self];
    grid({ x: 0, y: 0, width, height }, all, placed, { fill: all.length === 1 });
  }
  return placed;
}

/** The stage for screens, and a strip for people beside or below it. */
function split(width, height) {
  if (width > height * 1.15) {
    const side = Math.max(120, Math.min(260, width * 0.2));
    return [
      { x: 0, y: 0, width: width - side - GAP, height },
      { x: width - side, y: 0, width: side, height },
    ];
  }
  const below = Math.max(96, Math.min(190, height * 0.22));
  return [
    { x: 0, y: 0, width, height: height - below - GAP },
    { x: 0, y: height - below, width, height: below },
  ];
}

function corner(width, height) {
  const portrait = height > width;
  const w = Math.round(Math.max(96, Math.min(240, Math.min(width, height) * (portrait ? 0.27 : 0.36))));
  const h = Math.round(portrait ? w * (4 / 3) : w * (9 / 16));
  return { x: width - w - 12, y: height - h - 12, width: w, height: h };
}

function grid(area, tiles, placed, { fill = false, line = false }) {
  const count = tiles.length;
  if (!count) return;
  const best = bestColumns(area, count, { fill, line });
  const rows = Math.ceil(count / best.columns);
  const top = area.y + (area.height - rows * best.height - (rows - 1) * GAP) / 2;
  tiles.forEach((tile, index) => {
    const row = Math.floor(index / best.columns);
    const inRow = row === rows - 1 ? count - row * best.columns : best.columns;
    const left = area.x + (area.width - inRow * best.width - (inRow - 1) * GAP) / 2;
    placed.set(tile.id, {
      x: Math.round(left + (index % best.columns) * (best.width + GAP)),
      y: Math.round(top + row * (best.height + GAP)),
      width: Math.floor(best.width),
      height: Math.floor(best.height),
      pip: false,
    });
  });
}

/** The number of columns that gives the largest tiles of a shape that suits a face. */
function bestColumns(area, count, { fill, line }) {
  let best = null;
  const narrowest = Math.max(NARROWEST_UPRIGHT, Math.min(NARROWEST_WIDE, area.width / area.height));
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    if (line && columns !== 1 && rows !== 1) continue;
    let width = (area.width - (columns - 1) * GAP) / columns;
    let height = (area.height - (rows - 1) * GAP) / rows;
    if (width < 1 || height < 1) continue;
    if (!fill) {
      width = Math.min(width, height * WIDEST);
      height = Math.min(height, width / narrowest);
    }
    if (!best || width * height > best.width * best.height) best = { columns, width, height };
  }
  return best ?? { columns: count, width: 1, height: 1 };
}
