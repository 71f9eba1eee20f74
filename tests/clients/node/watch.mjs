// Prints what an EventSource sees, one JSON object a line. Nothing here ends the process: Node
// does, once the EventSource has neither a connection nor a timer left.

import { EventSource } from "eventsource";

const [url, ...types] = process.argv.slice(2);

function print(seen) {
  process.stdout.write(JSON.stringify(seen) + "\n");
}

const source = new EventSource(url);
for (const type of types) {
  source.addEventListener(type, (event) => {
    print({ type: event.type, data: event.data, id: event.lastEventId });
  });
}
source.addEventListener("open", () => print({ type: "open" }));
source.addEventListener("error", (event) => {
  print({ type: "error", code: event.code ?? null, closed: source.readyState === source.CLOSED });
});
