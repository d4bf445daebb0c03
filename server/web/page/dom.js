/** The few DOM helpers that the page needs. */

export const byId = (id) => document.getElementById(id);

/** An element with a class and children (nodes or text). */
export function el(tag, className = "", ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** An icon of the sprite in index.html. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  svg.setAttribute("aria-hidden", "true");
  return svg;
}

/** Another icon in a button that has one. */
export function setIcon(button, name) {
  button.querySelector("use").setAttribute("href", `#i-${name}`);
}

/** Sets a text only when it differs, so that screen readers do not read it again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Tells screen readers something that is to be seen elsewhere. */
export function announce(text) {
  byId("announcer").textContent = text;
}

export function showView(name) {
  document.body.dataset.view = name;
}
