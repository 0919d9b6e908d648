// Pages work without this file. With it, they refresh themselves, and one box selects all letters.
"use strict";

const PERIOD = 5000;

function say(text) {
  for (const each of document.querySelectorAll("[data-live-state]")) each.textContent = text;
}

// Whether a person is amid something that a refresh would take away.
function isBusy(part) {
  return part.contains(document.activeElement) || part.querySelector("details[open]") !== null;
}

async function refresh() {
  const parts = document.querySelectorAll("[data-live][id]");
  const answer = await fetch(location.href, { credentials: "same-origin" });
  if (answer.redirected) return say("Your session has ended: load the page again to sign in");
  if (!answer.ok) return say("No answer since the last update; trying again");
  // Scripts of a parsed document do not run, and nothing is written as HTML text.
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  let waiting = false;
  for (const part of parts) {
    const next = page.getElementById(part.id);
    if (next === null) continue;
    if (isBusy(part)) {
      waiting = true;
      continue;
    }
    const places = Array.from(part.querySelectorAll(".scroll"), (each) => each.scrollLeft);
    const shown = document.importNode(next, true);
    part.replaceWith(shown);
    shown.querySelectorAll(".scroll").forEach((each, at) => {
      each.scrollLeft = places[at] ?? each.scrollLeft;
    });
  }
  say(waiting ? "Updates wait while you are in a part" : "Live · " + new Date().toLocaleTimeString());
}

async function live() {
  for (;;) {
    await new Promise((done) => setTimeout(done, PERIOD));
    if (document.hidden) continue;
    try {
      await refresh();
    } catch {
      say("The dashboard does not answer; trying again");
    }
  }
}

// On a phone, the entry of this page may lie outside of the screen.
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });

if (document.querySelector("[data-live]")) {
  say("Live");
  live();
}

if (document.querySelector("[data-again]")) setTimeout(() => location.reload(), 2 * PERIOD);

for (const all of document.querySelectorAll("[data-select-all]")) {
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const box of all.form.querySelectorAll("input[name=id]")) box.checked = all.checked;
  });
}
