// Reads a stream with a library: `node read.mjs LIBRARY URL`. Each event becomes a line as soon as it is there.

import { Readable } from 'node:stream';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const require = createRequire(join(process.cwd(), 'none.js'));
// The libraries are those of the working directory, where this file is not.
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const print = (event) => process.stdout.write(JSON.stringify(event) + '\n');
const took = (id, data) => {
  const event = JSON.parse(data);
  print({ ...event, sequence: Number(id) });
  return event.type === 'StopEvent';
};
const body = async (url) => Readable.fromWeb((await fetch(url)).body);

const libraries = {
  async ndjson(url) {
    const { default: ndjson } = await load('ndjson');
    for await (const event of (await body(url)).pipe(ndjson.parse())) print(event);
  },
  async split2(url) {
    const { default: split2 } = await load('split2');
    for await (const event of (await body(url)).pipe(split2(JSON.parse))) print(event);
  },
  async 'stream-json'(url) {
    const { default: parser } = await load('stream-json/jsonl/parser.js');
    for await (const { value } of (await body(url)).pipe(parser.asStream())) print(value);
  },
  async eventsource(url) {
    const { EventSource } = await load('eventsource');
    const source = new EventSource(url);
    // Its own timer does not keep a process alive that waits to come back.
    const alive = setInterval(() => source.readyState === EventSource.CLOSED && clearInterval(alive), 100);
    source.onmessage = ({ lastEventId, data }) => took(lastEventId, data) && source.close();
  },
  async 'eventsource-client'(url) {
    const { createEventSource } = await load('eventsource-client');
    const source = createEventSource({ url, onMessage: ({ id, data }) => took(id, data) && source.close() });
  },
  async '@microsoft/fetch-event-source'(url) {
    globalThis.window = globalThis;
    globalThis.document = new EventTarget();
    const { fetchEventSource } = await load('@microsoft/fetch-event-source');
    await fetchEventSource(url, { openWhenHidden: true, onmessage: ({ id, data }) => void took(id, data) });
  },
  async '@llamaindex/workflows-client'(url) {
    const { createClient, getEventsByHandlerId } = await load('@llamaindex/workflows-client');
    const [baseUrl, handler_id] = url.split('?')[0].split('/events/');
    const client = createClient({ baseUrl });
    const { stream } = await getEventsByHandlerId({ client, path: { handler_id }, query: { sse: true } });
    for await (const event of stream) print(event);
  },
};

await libraries[process.argv[2]](process.argv[3]);
