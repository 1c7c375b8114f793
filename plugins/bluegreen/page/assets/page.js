// The page works without this file. With it, the apps are loaded again by themselves, and Refresh triggers the
// status DAG through Airflow's REST API, with the rights of whoever is logged in.
"use strict";

const main = document.getElementById("apps");
const state = document.getElementById("state");
const base = document.body.dataset.base;
const ACTIVE_SECONDS = 5;
const CALM_SECONDS = 30;
let timer;

function report(text) {
  if (state.textContent !== text) state.textContent = text;
}

function later() {
  const active = document.getElementById("loaded")?.dataset.active === "yes";
  clearTimeout(timer);
  timer = setTimeout(load, (active ? ACTIVE_SECONDS : CALM_SECONDS) * 1000);
}

async function load() {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    const answer = await fetch(main.dataset.apps, { redirect: "error", cache: "no-store" });
    if (answer.status === 401) location.reload();
    else if (!answer.ok) report(await answer.text());
    else show(await answer.text());
  } catch {
    report("Airflow does not answer; this is what was known before.");
  }
  later();
}

function show(html) {
  const open = [...main.querySelectorAll("details[open]")].map((one) => one.id);
  const typing = main.contains(document.activeElement) && document.activeElement.matches("input");
  // Whoever is typing keeps the form as it is.
  if (typing) return;
  const focused = placeOf(document.activeElement);
  const parsed = new DOMParser().parseFromString(html, "text/html");
  main.replaceChildren(...parsed.body.childNodes);
  open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
  if (focused >= 0) [...main.querySelectorAll("a, button, summary")][focused]?.focus({ preventScroll: true });
  if (state.textContent.startsWith("Airflow")) report("");
}

function placeOf(element) {
  return [...main.querySelectorAll("a, button, summary")].indexOf(element);
}

async function trigger(dag, conf) {
  const answer = await fetch(`${base}/api/v2/dags/${encodeURIComponent(dag)}/dagRuns`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ logical_date: null, conf }),
  });
  if (answer.ok) return `${dag} was triggered.`;
  if (answer.status === 403) return `You may not trigger ${dag}.`;
  const body = await answer.json().catch(() => ({}));
  return `${dag} was not triggered: ${typeof body.detail === "string" ? body.detail : answer.status}`;
}

main.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-trigger]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  report(await trigger(link.dataset.trigger, {}).catch(() => "Airflow does not answer."));
  setTimeout(load, 1000);
});
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : load()));
later();
