/** The page: which view is shown, and what the client's events mean for people. */
import { Tandem } from "../tandem.js";
import { banner, blockedMessage, deviceMessage, unbanner } from "./banners.js";
import { CallView } from "./callview.js";
import { announce, byId, setText, showView } from "./dom.js";
import { wireDialogs } from "./devices.js";
import { Lobby } from "./lobby.js";
import { asRoom } from "./names.js";
import { PageRenderer } from "./renderer.js";
import { Ring } from "./ring.js";
import { Tiles } from "./tiles.js";

const query = new URLSearchParams(location.search);
const wants = (name) => query.get(name) !== "0";
const token = new URLSearchParams(location.hash.slice(1)).get("token");

const tiles = new Tiles(byId("tiles"));
const renderer = new PageRenderer(tiles, {
  sharesScreen: (id) => client.call?.shown.find((one) => one.id === id)?.info.screenShareEnabled ?? false,
  onsilence: () =>
    banner("sound", {
      text: "The browser keeps the sound off until you click.",
      action: { label: "Click to hear", run: hear },
      closable: false,
    }),
});
const client = new Tandem({ token, renderer, name: query.get("name") ?? "", preferVideoCodec: query.get("codec") });
globalThis.tandem = client;

const lobby = new Lobby({ client, renderer, onjoin: join });
const callView = new CallView({ client, tiles, renderer, onleave: leave });
const ring = new Ring({ onanswer: answer, onreject: (call) => client.reject(call.callId).catch(() => {}) });

async function join(room, name) {
  client.name = name;
  unbanner("join");
  try {
    await client.connect();
    if (client.call) await client.leave();
    await client.join(room);
    enter(room);
  } catch (error) {
    refused(error);
  }
}

async function answer(call) {
  try {
    await client.media.open();
    await client.leave();
    const joined = await client.answer(call.callId);
    enter(joined.roomId);
  } catch (error) {
    refused(error);
  }
}

function enter(room) {
  const url = new URL(location.href);
  url.searchParams.set("room", room);
  history.replaceState(null, "", url);
  document.title = `${room} · Tandem`;
  lobby.close();
  showView("call");
  callView.open();
}

function leave() {
  client.leave().catch(() => {});
  finish("You left the call", "");
}

/** After the call: devices are released, and there is a way back. */
function finish(title, text) {
  callView.close();
  client.media.close();
  for (const key of ["blocked", "connection", "sound"]) unbanner(key);
  document.title = "Tandem";
  setText(byId("ended-title"), title);
  setText(byId("ended-text"), text);
  showView("ended");
  byId("ended-title").focus();
}

async function openLobby() {
  showView("lobby");
  lobby.open({ room: query.get("room"), name: client.name });
  await client.media.open({ audio: wants("audio"), video: wants("video") });
}

async function rejoin() {
  unbanner("replaced");
  await client.media.open({ audio: wants("audio"), video: wants("video") });
  await join(asRoom(new URL(location.href).searchParams.get("room") ?? ""), client.name);
}

async function autojoin() {
  const waiting = setTimeout(
    () =>
      banner("asking", {
        text: "Allow the microphone and camera, please.",
        detail: "The browser is asking for them.",
      }),
    1_500,
  );
  const media = client.media.open({ audio: wants("audio"), video: wants("video") });
  await Promise.all([media, client.connect().catch(() => {})]);
  clearTimeout(waiting);
  unbanner("asking");
  await join(asRoom(query.get("room")), client.name || "Guest");
}

function refused(error) {
  const known = {
    token_missing: ["This server wants an invitation.", "Open the link with a token that you were given."],
    token_invalid: ["This invitation is not valid.", "Ask for a new link."],
    token_expired: ["This invitation has expired.", "Ask for a new link."],
    forbidden: ["You may not do that.", error.message],
    call_full: ["The call is full.", error.message],
    room_limit: ["The server is full.", error.message],
  };
  const [text, detail] = known[error.code] ?? ["That did not work.", error.message];
  banner("join", { text, detail, tone: "bad" });
  if (document.body.dataset.view !== "lobby") openLobby();
}

function hear() {
  unbanner("sound");
  renderer.unsilence();
}

// ---- what the client tells ----------------------------------------------------------------------------------------

client.addEventListener("change", () => {
  if (document.body.dataset.view === "call") callView.render();
  if (document.body.dataset.view === "lobby") lobby.render();
});
client.addEventListener("connection", ({ detail: { state } }) => {
  if (state === "reconnecting") {
    banner("connection", {
      text: "The server is away. Reconnecting…",
      detail: client.call ? "Sound and picture go on where they can." : "",
      tone: "warn",
      closable: false,
    });
  } else if (state === "connected" && document.querySelector('[data-key="connection"]')) {
    banner("connection", { text: "Back again.", tone: "good", forMs: 2_500 });
  }
});
client.addEventListener("blocked", ({ detail: { media } }) => {
  if (media) banner("blocked", blockedMessage(media));
  else unbanner("blocked");
});
client.addEventListener("problem", ({ detail: { error } }) => {
  banner("problem", { text: "Something was refused.", detail: error.message, tone: "warn", forMs: 10_000 });
});
client.addEventListener("chat", ({ detail }) => {
  const mine = detail.participantId === client.call?.me;
  callView.chat.add(detail, mine);
  if (!mine) announce(`${detail.name || "Guest"}: ${detail.text}`);
});
client.addEventListener("caption", ({ detail }) => callView.captions.add(detail));
client.addEventListener("incoming", ({ detail }) => ring.show(detail));
client.addEventListener("cancelled", ({ detail }) => ring.hide(detail.callId));
client.addEventListener("ended", ({ detail }) => {
  if (detail.reason === "removed") finish("You are no longer in the call", "Somebody took you out of it.");
  else finish("The call has ended", detail.reason === "rejected" ? "It was declined." : "");
});
client.addEventListener("replaced", () => {
  finish("You are in this call elsewhere", "Another tab or device has taken it over.");
});
client.media.addEventListener("problem", ({ detail }) => banner(`device-${detail.source}`, deviceMessage(detail)));
client.media.addEventListener("change", () => {
  for (const source of ["microphone", "camera", "screen"]) if (client.media.on[source]) unbanner(`device-${source}`);
});

document.addEventListener("pointerdown", () => renderer.silenced && hear());
document.addEventListener("keydown", () => renderer.silenced && hear());
addEventListener("pagehide", (event) => {
  if (!event.persisted) client.close();
});
byId("rejoin").onclick = rejoin;
byId("back-to-lobby").onclick = openLobby;
wireDialogs();

if (query.get("autojoin") === "1" && asRoom(query.get("room") ?? "")) autojoin();
else {
  if (token) client.connect().catch(refused); // so that calls can ring before one is joined
  openLobby();
}
