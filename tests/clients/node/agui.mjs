// Runs AG-UI's own client. Each line of standard input is a JSON object, answered by one line:
//
//   {"body": "…"}                    what a server would answer, or
//   {"url": "…", "headers": {…}}     where one does; asked with POST
//   {…, "messages": […], "state": …} what the client has from before
//
// An answer has the messages and the state that the client then has, what its subscribers were told
// (types), and the error that it has thrown, if any.

import { createInterface } from "node:readline";
import { HttpAgent } from "@ag-ui/client";

// What it converts or leaves out, it warns of. That is told, too: nothing of ours may be.
let warnings = [];
console.warn = (...parts) => warnings.push(parts.join(" "));

async function run({ body, url, headers, messages, state }) {
  const answer = async () =>
    new Response(body, { headers: { "content-type": "text/event-stream; charset=utf-8" } });
  const agent = new HttpAgent({
    url: url ?? "http://run.invalid/",
    headers: headers ?? {},
    threadId: "t-1",
    initialMessages: messages ?? [],
    initialState: state ?? {},
    ...(url === undefined ? { fetch: answer } : {}),
  });
  const types = [];
  const custom = [];
  const errors = [];
  warnings = [];
  let thrown = null;
  try {
    await agent.runAgent(
      {},
      {
        onEvent: ({ event }) => void types.push(event.type),
        onCustomEvent: ({ event }) => void custom.push({ name: event.name, value: event.value }),
        onRunErrorEvent: ({ event }) => void errors.push(event.message),
        onRunFailed: () => ({ stopPropagation: false }),
      },
    );
  } catch (error) {
    thrown = String(error.message ?? error);
  }
  return { messages: agent.messages, state: agent.state, types, custom, errors, warnings, thrown };
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(await run(JSON.parse(line))) + "\n");
}
