# The commands and `musetalk serve`, on the CPU; docs/docker.md has what to do with it.
#
#     docker build -t musetalk .

FROM python:3.12-slim-bookworm AS build
# Compiles the native kernel.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
WORKDIR /src
COPY pyproject.toml hatch_build.py native_build.py README.md LICENSE ./
COPY musetalk_cli musetalk_cli
COPY examples/hello.wav examples/
RUN python -m venv /opt/musetalk && /opt/musetalk/bin/pip install --no-cache-dir ".[serve]"

FROM python:3.12-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends ffmpeg libportaudio2 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --home-dir /data musetalk
COPY --from=build /opt/musetalk /opt/musetalk
# Avatars, caches and weights are kept in the volume.
ENV PATH=/opt/musetalk/bin:$PATH MUSETALK_HOME=/data
USER musetalk
WORKDIR /data
VOLUME /data
EXPOSE 8900
# Only a server answers; a container that renders or streams needs `--no-healthcheck`.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8900/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["musetalk"]
CMD ["serve", "--host", "0.0.0.0", "--token-file", "/run/secrets/token", "--log-format", "json"]
