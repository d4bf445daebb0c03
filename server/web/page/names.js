/** Names: of rooms, and what stands for a person who shows no picture. */

const HOW = `
  amber brave calm clear clever coral crisp early gentle golden green happy hazel jolly kind light
  lively lucky mellow merry misty noble olive quiet rapid royal silver sunny swift tidy warm wild
`.trim().split(/\s+/);
const WHAT = `
  badger beacon birch bridge canyon cedar comet cove falcon fern finch fjord forest garden harbour
  heron island juniper lantern maple meadow otter panda pebble pine planet raven river robin sparrow
  summit willow
`.trim().split(/\s+/);

/** A room name that is easy to say and hard to guess by accident: two words and four digits. */
export function prettyRoom() {
  const [a, b, c] = crypto.getRandomValues(new Uint32Array(3));
  return `${HOW[a % HOW.length]}-${WHAT[b % WHAT.length]}-${String(c % 10_000).padStart(4, "0")}`;
}

/** What the user typed, as a room name may be: "Team Meeting" becomes "Team-Meeting". */
export function asRoom(text) {
  return text.trim().replace(/\s+/g, "-").replace(/[^A-Za-z0-9._~-]/g, "").slice(0, 64);
}

export function initials(name) {
  const words = name.trim().split(/\s+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : words;
  return letters.map((word) => [...word][0].toUpperCase()).join("") || "?";
}

/** A hue that belongs to a name. */
export function hue(name) {
  let hash = 0;
  for (const char of name) hash = (hash * 31 + char.codePointAt(0)) >>> 0;
  return hash % 360;
}

/** Fills an avatar element for a name. */
export function paintAvatar(element, name) {
  if (element.dataset.name === name) return;
  element.dataset.name = name;
  element.textContent = initials(name);
  element.style.setProperty("--hue", String(hue(name)));
}
