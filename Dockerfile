# The gateway as an image: docker build -t fastgw .
# It runs as a user without rights and needs no writable root: docker run --read-only --tmpfs /tmp -p 3000:3000 fastgw
# Settings are environment variables (docker run --env-file .env); or a file mounted at /etc/fastgw/.env, which a SIGHUP
# has read anew: docker kill -s HUP.

FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/fastgw
COPY pyproject.toml README.md ./
COPY fastgw ./fastgw
RUN /opt/fastgw/bin/pip install .

# The same with the sample server of the platform, for trying it out: docker build --target sample .
FROM build AS build-sample
RUN /opt/fastgw/bin/pip install '.[demo]'

FROM python:3.11-slim-bookworm AS run
RUN groupadd --system --gid 10001 fastgw && \
    useradd --system --uid 10001 --gid 10001 --home-dir /etc/fastgw --no-create-home --shell /usr/sbin/nologin fastgw
ENV PATH=/opt/fastgw/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# .env is looked for here.
WORKDIR /etc/fastgw
USER 10001:10001

FROM run AS sample
COPY --from=build-sample /opt/fastgw /opt/fastgw
EXPOSE 8000
CMD ["python", "-m", "fastgw.demo.app", "--host", "0.0.0.0", "--port", "8000"]

FROM run AS gateway
COPY --from=build /opt/fastgw /opt/fastgw
COPY deploy/docker/healthcheck.py /opt/fastgw/healthcheck.py
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["python", "/opt/fastgw/healthcheck.py"]
# No init is needed: `fastgw serve` as process 1 handles SIGTERM, SIGINT and SIGHUP, and reaps all that it starts. Stopping
# takes up to SHUTDOWN_GRACE_SECONDS, so give it that: docker stop -t 45.
CMD ["fastgw", "serve"]
