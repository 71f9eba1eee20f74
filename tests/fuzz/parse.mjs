// Reads a stream's pieces from each line, as a JSON array of base64; answers with the events that
// eventsource-parser dispatches for them, as a line of JSON.

import { createInterface } from "node:readline";
import { createParser } from "../clients/node/node_modules/eventsource-parser/dist/index.js";

function parse(pieces) {
  const events = [];
  const parser = createParser({
    onEvent: ({ id = null, event = null, data }) => events.push({ id, event, data }),
    onError: (error) => {
      throw error;
    },
  });
  // As a browser decodes a stream, in pieces that may cut characters.
  const decoder = new TextDecoder();
  for (const piece of pieces) {
    parser.feed(decoder.decode(Buffer.from(piece, "base64"), { stream: true }));
  }
  return events;
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  process.stdout.write(JSON.stringify(parse(JSON.parse(line))) + "\n");
}
