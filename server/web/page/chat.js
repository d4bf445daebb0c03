/** The chat panel. Texts are shown as texts, never as markup. */
import { byId, el, setText } from "./dom.js";

const KEPT = 500;

export class Chat {
  #unread = 0;
  #lastFrom = null;

  /** @param {{send: (text: string) => Promise<void>, onproblem: (error: Error) => void, onlayout: () => void}} of */
  constructor({ send, onproblem, onlayout }) {
    this.onlayout = onlayout;
    byId("chat-close").onclick = () => this.toggle(false);
    byId("chat-form").onsubmit = async (event) => {
      event.preventDefault();
      const input = byId("chat-text");
      const text = input.value.trim();
      if (!text) return;
      input.value = "";
      try {
        await send(text);
      } catch (error) {
        if (!input.value) input.value = text; // not lost: it can be sent again
        onproblem(error);
      }
    };
  }

  get open() {
    return !byId("chat").hidden;
  }

  toggle(open = !this.open) {
    byId("chat").hidden = !open;
    byId("chat-toggle").setAttribute("aria-expanded", String(open));
    document.body.classList.toggle("chatting", open);
    if (open) {
      this.#count(0);
      byId("chat-text").focus();
      this.#scroll();
    } else if (byId("chat").contains(document.activeElement)) {
      byId("chat-toggle").focus();
    }
    this.onlayout();
  }

  add({ participantId, name, text, at }, mine) {
    const list = byId("messages");
    const item = el("li", mine ? "mine" : "");
    if (this.#lastFrom !== participantId) {
      const time = new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
      item.append(el("div", "from", mine ? "You" : name || "Guest", el("time", "", time)));
    }
    this.#lastFrom = participantId;
    item.append(el("div", "text", text));
    list.append(item);
    while (list.childElementCount > KEPT) list.firstElementChild.remove();
    if (this.open) this.#scroll();
    else if (!mine) this.#count(this.#unread + 1);
  }

  clear() {
    byId("messages").replaceChildren();
    this.#lastFrom = null;
    this.#count(0);
    this.toggle(false);
  }

  #scroll() {
    byId("messages").scrollTop = byId("messages").scrollHeight;
  }

  #count(unread) {
    this.#unread = unread;
    const badge = byId("unread");
    badge.hidden = !unread;
    setText(badge, unread > 9 ? "9+" : String(unread));
    byId("chat-toggle").setAttribute("aria-label", unread ? `Chat, ${unread} unread` : "Chat");
  }
}
