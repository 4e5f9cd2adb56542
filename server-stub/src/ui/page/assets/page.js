// Puts new fragments in place as they come. Everything works without it, as a picture of one moment.
"use strict";

const link = document.getElementById("link");
const filter = document.getElementById("filter");
const answer = document.getElementById("answer");

function say(state, text) {
  link.className = state;
  link.textContent = text;
}

// Keeps the focus, and what is being selected, over the change.
function place(id, html) {
  const at = document.getElementById(id);
  if (!at || !at.hasAttribute("data-live")) return;
  const selected = document.getSelection();
  if (selected && !selected.isCollapsed && at.contains(selected.anchorNode)) return;
  const focused = at.contains(document.activeElement) ? document.activeElement.id : "";
  at.innerHTML = html;
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function filterMetrics() {
  const wanted = filter.value.trim().toLowerCase();
  for (const row of document.querySelectorAll("#metrics tbody tr")) {
    row.hidden = wanted !== "" && !row.dataset.name.toLowerCase().includes(wanted);
  }
}

function follow() {
  const events = new EventSource(document.body.dataset.liveAt);
  events.onopen = () => say("live", "live");
  events.onmessage = (event) => {
    for (const [id, html] of Object.entries(JSON.parse(event.data))) place(id, html);
    if (filter.value) filterMetrics();
  };
  events.onerror = () => {
    say("lost", "connection lost, trying again");
    // Refused rather than broken: the browser would not try again by itself.
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, 3000);
  };
}

// One press at a time; the button is not disabled meanwhile, which would take the focus away.
let pressing = false;

async function press(form) {
  if (pressing) return;
  pressing = true;
  try {
    const response = await fetch(form.action, { method: "POST", headers: { accept: "application/json" } });
    const said = await response.json();
    answer.hidden = response.ok;
    answer.textContent = response.ok ? "" : said.error;
  } catch (error) {
    answer.hidden = false;
    answer.textContent = "The page's server does not answer: " + error.message;
  }
  pressing = false;
}

document.addEventListener("submit", (event) => {
  if (!event.target.action.includes("/demo/")) return;
  event.preventDefault();
  press(event.target);
});
filter.addEventListener("input", filterMetrics);
document.querySelector(".filter").hidden = false;
follow();
