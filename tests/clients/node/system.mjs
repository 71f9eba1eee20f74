// npm's `eventsource`, as a client of one of the systems. Prints each message as a JSON object a
// line. The lines for Travelmode are those of its documentation, but for the host.
//
//   node system.mjs SYSTEM URL HEADERS TYPES…

import { EventSource } from "eventsource";

const [system, url, headers, ...types] = process.argv.slice(2);

const options = {
  // How the package's README has headers sent.
  fetch: (input, init) =>
    fetch(input, { ...init, headers: { ...init.headers, ...JSON.parse(headers) } }),
};

function print(event) {
  const { type, data, lastEventId } = event;
  process.stdout.write(JSON.stringify({ type, data, id: lastEventId }) + "\n");
}

if (system === "travelmode") {
  const es = new EventSource(`${url}?since=0`, options);
  es.onmessage = (e) => {
    print(e);
    const frame = JSON.parse(e.data);
    // frame.type: "connected" | "run_event" | "status" | "run_finished" | "error"
    if (frame.type === "run_finished") es.close();
  };
} else {
  const source = new EventSource(url, options);
  for (const type of types) source.addEventListener(type, print);
}
