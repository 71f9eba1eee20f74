// The Node client of run-agent's documentation: an EventSource of the agent, which follows what it
// is at now. The answer goes to standard output; how it ended to the last line of it.
//
//   node run_agent.mjs HOST AGENT

import { EventSource } from "eventsource";

const [host, agent] = process.argv.slice(2);

const eventSource = new EventSource(`${host}/v1/agents/${agent}/stream`, {
  fetch: (input, init) =>
    fetch(input, {
      ...init,
      headers: { ...init.headers, Authorization: "Bearer YOUR_API_KEY" },
    }),
});

eventSource.addEventListener("chunk", (event) => {
  const data = JSON.parse(event.data);
  process.stdout.write(data.content);
});

eventSource.addEventListener("done", (event) => {
  const data = JSON.parse(event.data);
  console.log("\n" + JSON.stringify(data));
  eventSource.close();
});

eventSource.addEventListener("error", (event) => {
  if (event.data) console.log("\n" + event.data);
  eventSource.close();
});
