// How a page or Node asks an agent with `fetch`: POST, and the answer's body as it comes.
//
//   node run_agent_fetch.mjs HOST AGENT QUERY

const [host, agent, query] = process.argv.slice(2);

const response = await fetch(`${host}/v1/agents/${agent}/stream`, {
  method: "POST",
  headers: {
    Authorization: "Bearer YOUR_API_KEY",
    "Content-Type": "application/json",
  },
  body: JSON.stringify({ query }),
});

if (!response.ok) {
  const error = await response.json();
  throw new Error(error.error.message);
}

let rest = "";
for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
  rest += text;
  const blocks = rest.split("\n\n");
  rest = blocks.pop();
  for (const block of blocks) {
    const data = block.split("\n").find((line) => line.startsWith("data: "));
    if (data) {
      const { content } = JSON.parse(data.slice(6));
      if (content) process.stdout.write(content);
    }
  }
}
