// The view of a link that leads nowhere.
import { Empty } from "../components/basics.js";
import { html } from "../lib.js";
import { href } from "../router.js";

export function Unknown() {
  return html`<${Empty} title="There is no such page"><p>The address may be of another version. <a class="link" href=${href(["runs"])}>See the runs</a>.</p></${Empty}>`;
}
