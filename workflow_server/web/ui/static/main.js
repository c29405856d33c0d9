// The frame of the page: what is above every view, and which view is seen.
import { del, get } from "./api.js";
import { Button, Failure, Notice } from "./components/basics.js";
import { lazy } from "./lazy.js";
import { html, render, useEffect, useErrorBoundary, useRef } from "./lib.js";
import { href, usePlace } from "./router.js";
import { connection, session, useMay, useNow, useStore } from "./store.js";
import { Unknown } from "./views/unknown.js";

const RunsView = lazy(() => import("./views/runs.js"), "RunsView");
const RunView = lazy(() => import("./views/run.js"), "RunView");
const ServerView = lazy(() => import("./views/server.js"), "ServerView");
const StartView = lazy(() => import("./views/start.js"), "StartView");
const WorkflowView = lazy(() => import("./views/workflows.js"), "WorkflowView");
const WorkflowsView = lazy(() => import("./views/workflows.js"), "WorkflowsView");

/** Return the view of a place, and the part of the menu that it belongs to. */
function viewOf({ path, query }) {
  const [first = "runs", second, ...rest] = path;
  if (rest.length === 0) {
    if (first === "runs" && second === undefined) return { part: "runs", view: html`<${RunsView} query=${query} />` };
    if (first === "runs") return { part: "runs", view: html`<${RunView} key=${second} id=${second} query=${query} />` };
    if (first === "workflows" && second === undefined) return { part: "workflows", view: html`<${WorkflowsView} query=${query} />` };
    if (first === "workflows") return { part: "workflows", view: html`<${WorkflowView} key=${second} name=${second} query=${query} />` };
    if (first === "start") return { part: "start", view: html`<${StartView} key=${second} name=${second} query=${query} />` };
    if (first === "server" && second === undefined) return { part: "server", view: html`<${ServerView} query=${query} />` };
  }
  return { part: null, view: html`<${Unknown} />` };
}

const PARTS = [["runs", "Runs"], ["workflows", "Workflows"], ["server", "Server"]];

function Top({ part }) {
  const mayRun = useMay("run");
  const name = useStore(session, (value) => value.name);
  return html`<header class="top">
    <a class="brand" href=${href(["runs"])}>workflow_server</a>
    <nav aria-label="Main">${PARTS.map(([key, title]) => html`
      <a key=${key} href=${href([key])} aria-current=${part === key ? "page" : undefined}>${title}</a>`)}</nav>
    <span class="right">
      <${Connection} />
      ${name !== null && html`<${Account} name=${name} />`}
      ${mayRun && html`<a class="btn primary" href=${href(["start"])} aria-current=${part === "start" ? "page" : undefined}>Start a run</a>`}
    </span>
  </header>`;
}

function Connection() {
  const { state } = useStore(connection);
  const words = { live: "live", connecting: "connecting", lost: "not connected" };
  return html`<span class="connection" role="status"><i class="dot ${state}"></i> ${words[state]}</span>`;
}

function Account({ name }) {
  const role = useStore(session, (value) => value.role);
  const logOut = async () => {
    await del("session").catch(() => {});
    location.reload();
  };
  return html`<span class="account"><bdi>${name}</bdi> <span class="faint">(${role})</span>
    <${Button} quiet small onClick=${logOut}>Log out</${Button}></span>`;
}

/** Shown while the server cannot be reached: what is on the page stays, and goes on by itself. */
function Lost() {
  const { state, since, problem } = useStore(connection);
  const now = useNow();
  if (state !== "lost" || now - since < 1500) return null;
  return html`<${Notice} kind="warning">${problem} What you see is as of ${Math.round((now - since) / 1000)} s ago; it goes on by itself.</${Notice}>`;
}

/** Return the name of a view: that of the runs is what is seen without one. */
const nameOf = ({ path }) => path.join("/") || "runs";

function Main({ children, place }) {
  const main = useRef(null);
  const [error, reset] = useErrorBoundary();
  const before = useRef(nameOf(place));
  useEffect(() => {
    const now = nameOf(place);
    if (now === before.current) return;
    before.current = now;
    if (error) reset();
    // A view that has put the focus where the reader left keeps it.
    const focused = document.activeElement;
    if (focused !== main.current && main.current?.contains(focused)) return;
    scrollTo(0, 0);
    main.current?.focus({ preventScroll: true });
  }, [place]);
  return html`<main ref=${main} id="main" tabindex="-1">
    <${Lost} />
    ${error ? html`<${Failure} error=${{ detail: `This view failed: ${error.message}` }} onRetry=${reset} />` : children}
  </main>`;
}

function App() {
  const place = usePlace();
  const { part, view } = viewOf(place);
  return html`<a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <${Top} part=${part} />
    <${Main} place=${place}>${view}</${Main}>
    <div id="announcements" class="offscreen" aria-live="polite"></div>`;
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

async function begin() {
  render(html`<${App} />`, document.getElementById("app"));
  try {
    session.set({ ...(await get("session")), known: true });
  } catch (error) {
    console.warn("The rights of this browser are unknown:", error.message);
  }
}

begin();
