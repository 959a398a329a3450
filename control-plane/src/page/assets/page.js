// The page stays as it is without this. With it, what changes is shown as it changes: the server sends fragments, and each
// is grafted onto what is there, so that focus, opened forms and half-typed reasons stay.
"use strict";

// Between two tries after a refusal, each twice the one before; a broken connection is the browser's own business.
const [RETRY_MS, RETRY_MAX_MS] = [2000, 60000];
const SAID_MAX = 3; // Changes read aloud at once.

const byId = (id) => document.getElementById(id);

function attributes(old, now) {
  for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) {
    // Opened by hand: it stays open.
    if (!now.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
}

function graft(old, now) {
  if (old.isEqualNode(now)) return;
  if (old.nodeType !== now.nodeType || old.nodeName !== now.nodeName || old.id !== now.id) return old.replaceWith(now);
  if (old.nodeType !== Node.ELEMENT_NODE) return void (old.nodeValue = now.nodeValue);
  attributes(old, now);
  const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let at = old.firstChild;
  for (const next of [...now.childNodes]) {
    const same = next.id && known.get(next.id);
    if (same && same !== at) old.insertBefore(same, at);
    if (same) at = same;
    if (at && (same || (!at.id && !next.id))) {
      const after = at.nextSibling;
      graft(at, next);
      at = after;
    } else {
      old.insertBefore(next, at);
    }
  }
  while (at) at = drop(at);
}

function drop(node) {
  const after = node.nextSibling;
  node.remove();
  return after;
}

const states = (root) => new Set([...root.querySelectorAll("[data-said]")].map((one) => one.dataset.said));

function show(fragments) {
  const before = states(document);
  for (const [id, html] of Object.entries(fragments)) {
    const template = document.createElement("template");
    template.innerHTML = html;
    const [old, now] = [byId(id), template.content.firstElementChild];
    if (old && now) graft(old, now);
  }
  const news = [...states(document)].filter((one) => !before.has(one)).slice(0, SAID_MAX);
  if (news.length) byId("news").textContent = news.join("; ");
}

function say(text, live) {
  byId("link").textContent = text;
  byId("link").classList.toggle("live", live);
}

function follow(seen, retry = RETRY_MS) {
  const source = new EventSource(`/page/events?seen=${encodeURIComponent(seen)}`);
  source.onopen = () => {
    retry = RETRY_MS;
    say("live", true);
  };
  source.onmessage = (event) => {
    seen = event.lastEventId;
    show(JSON.parse(event.data));
  };
  source.onerror = () => {
    const refused = source.readyState === EventSource.CLOSED;
    say(refused ? "not live: reload, and sign in if you are asked to" : "not live: trying again", false);
    if (refused) setTimeout(follow, retry, seen, Math.min(retry * 2, RETRY_MAX_MS));
  };
}

function copy(button) {
  const said = (text) => {
    button.textContent = text;
    setTimeout(() => (button.textContent = "Copy"), 2000);
  };
  // Browsers have no clipboard for pages that did not come over TLS or from this machine.
  const copied = navigator.clipboard?.writeText(byId(button.dataset.copies).textContent) ?? Promise.reject();
  copied.then(() => said("Copied"), () => said("Select it"));
}

document.documentElement.classList.add("scripted");
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-copies]");
  if (button) copy(button);
});
if (document.body.dataset.seen) follow(document.body.dataset.seen);
