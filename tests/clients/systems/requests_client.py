"""A program: Python's `requests`, as Coasty's post on streaming shows it.

It reads lines, takes those with data, and remembers the id that the data has; when the connection
breaks it asks again with what it remembers. For systems whose data has no id it takes the `id:`
line; for Travelmode the sequence, which goes into the URL as `since`.
"""

import json
import sys
import time
from typing import Any

import requests

TERMINAL = ("succeeded", "failed", "cancelled", "timed_out")


def stream_run_events(
    system: str, url: str, headers: dict[str, str], last_event_id: str | None
) -> tuple[bool, str | None]:
    """Follows one connection; whether the run has finished, and the last id."""
    params = {}
    if system == "travelmode":
        params = {"since": last_event_id or "0"}
    elif last_event_id is not None:
        headers = {**headers, "Last-Event-ID": last_event_id}
    event = "message"
    try:
        resp = requests.get(url, headers=headers, params=params, stream=True, timeout=(5, 30))
        resp.raise_for_status()
        if resp.status_code == requests.codes.no_content:
            return True, last_event_id
        for line in map(str, resp.iter_lines(decode_unicode=True)):
            if not line:
                event = "message"
                continue
            if line.startswith("event: "):
                event = line[7:]
            if line.startswith("id: ") and system == "cortex":
                last_event_id = line[4:]
            if line.startswith("data: "):
                data: dict[str, Any] = json.loads(line[6:])
                if system == "coasty":
                    last_event_id = data.get("id")
                if system == "travelmode" and "sequence" in data:
                    last_event_id = str(data["sequence"])
                seen = {"type": event, "data": line[6:], "id": last_event_id or ""}
                print(json.dumps(seen), flush=True)
                if event == "complete" or data.get("type") == "run_finished":
                    return True, last_event_id
                if system == "coasty" and data.get("type") in TERMINAL:
                    return True, last_event_id
    except requests.RequestException:
        pass
    return False, last_event_id


def main(system: str, url: str, headers: dict[str, str]) -> None:
    """Follows the run to its end."""
    finished, last_event_id = False, None
    while not finished:
        finished, last_event_id = stream_run_events(system, url, headers, last_event_id)
        time.sleep(0 if finished else 0.1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
