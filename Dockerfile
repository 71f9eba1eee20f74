# syntax=docker/dockerfile:1
#
# An edge: docker build --tag runcast:0.1.0 .   What it wants to be run with: docs/deploy.md

FROM python:3.13-slim-trixie AS build

WORKDIR /source
RUN python -m venv --without-pip /opt/runcast
COPY pyproject.toml README.md LICENSE ./
COPY broker broker
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel --no-deps --wheel-dir /wheels .
# hadolint ignore=DL3059 # What it depends on is fetched again only if the wheel has changed.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/runcast/bin/python install /wheels/runcast-*.whl


FROM python:3.13-slim-trixie

LABEL org.opencontainers.image.title="Runcast" \
      org.opencontainers.image.description="SSE fan-out broker for agent runs, backed by Redis Streams" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"

COPY --from=build /opt/runcast /opt/runcast

# Everything is read-only but /tmp, which only several workers want, and which should be a tmpfs.
# runcast.toml, if there is one, is read from the working directory.
ENV PATH=/opt/runcast/bin:$PATH \
    HOME=/nonexistent \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RUNCAST_HOST=0.0.0.0 \
    RUNCAST_PORT=8080 \
    RUNCAST_LOG_FORMAT=json
WORKDIR /etc/runcast
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM

HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --start-interval=1s --retries=3 \
    CMD ["python", "-I", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['RUNCAST_PORT']), timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]

ENTRYPOINT ["runcast"]
CMD ["serve"]
