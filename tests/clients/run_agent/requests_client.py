"""The Python client of run-agent's documentation: `requests`, and the lines of the answer.

python -m tests.clients.run_agent.requests_client HOST AGENT QUERY
"""

import json
import sys

import requests


def stream_agent_response(host: str, agent_id: str, query: str) -> None:
    """Prints what comes as it comes."""
    headers = {
        "Authorization": "Bearer YOUR_API_KEY",
        "Content-Type": "application/json",
        "Accept": "text/event-stream",
    }
    response = requests.post(
        f"{host}/v1/agents/{agent_id}/stream",
        headers=headers,
        json={"query": query},
        stream=True,
        timeout=30,
    )
    for raw in response.iter_lines():
        if not raw:
            continue
        line = raw.decode("utf-8")
        if line.startswith("data: "):
            data = json.loads(line[6:])
            if "content" in data:
                print(data["content"], end="", flush=True)


if __name__ == "__main__":
    stream_agent_response(*sys.argv[1:])
