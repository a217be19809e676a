# Every image of Roots. The three services share their stages, and SERVICE names one; NATS and the gateway are targets:
#
#   docker build --build-arg SERVICE=longpoll --tag roots-longpoll .
#   docker build --target gateway --tag roots-gateway .
#   docker build --target nats --tag roots-nats .
#
# No image needs root, a capability or a file system that can be written to.
#
# A health check ends by itself after 2 s without an answer; its --timeout has room for its start on a busy machine.
ARG SERVICE=longpoll
ARG PYTHON_IMAGE=python:3.13.18-slim-trixie
ARG HAPROXY_IMAGE=haproxy:2.8.25-alpine
ARG NATS_IMAGE=nats:2.15.1-alpine


# Only what a service declares; pip is left out.
FROM ${PYTHON_IMAGE} AS install
ARG SERVICE
ENV PIP_CACHE_DIR=/var/cache/pip PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# The lock comes first, so that a change of the sources finds it installed.
COPY requirements/${SERVICE}.txt /tmp/lock.txt
RUN --mount=type=cache,target=/var/cache/pip \
    python -m venv --without-pip /opt/roots \
    && python -m pip --python /opt/roots/bin/python install --quiet --no-deps --only-binary :all: --require-hashes \
        --requirement /tmp/lock.txt
COPY libs/common/src libs/outbox/src clients/cornelius/src services/${SERVICE}/src /opt/roots/src/
# The bytecode can't be written later, and need not be compared with the sources' times.
RUN python -m compileall -q --invalidation-mode unchecked-hash /opt/roots/src


FROM ${PYTHON_IMAGE} AS runtime
ENV PATH=/opt/roots/bin:${PATH} PYTHONPATH=/opt/roots/src PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Nothing outside can reach a container's own loopback; the operator decides what is published.
ENV ROOTS_HTTP_HOST=0.0.0.0
# The official image has no bytecode of the standard library, and it can't be written later: each start would compile it.
RUN python -c 'import compileall, sysconfig; compileall.compile_dir(sysconfig.get_path("stdlib"), quiet=2, \
    invalidation_mode=compileall.py_compile.PycInvalidationMode.UNCHECKED_HASH)'
COPY --from=install /opt/roots /opt/roots
USER 10001:10001
WORKDIR /opt/roots


# The files that browsers load, with a digest of the content in each name.
FROM ${PYTHON_IMAGE} AS assets
COPY libs/devstack/src/roots_devstack/assets.py /tmp/
COPY web /tmp/web
COPY clients/pomona/src /tmp/pomona
RUN python /tmp/assets.py /tmp/web /tmp/pomona /srv


FROM runtime AS run-tasks
COPY --from=assets /srv /srv
ENV ROOTS_WEB=/srv
EXPOSE 8000 9000
HEALTHCHECK --interval=5s --timeout=15s --start-period=60s --start-interval=1s \
    CMD ["python", "-m", "roots.runtime.probe", "9000"]
CMD ["python", "-m", "roots_tasks", "serve"]
LABEL org.opencontainers.image.description="The task REST API and its page, its migrations and the outbox relay"


FROM runtime AS run-subscriptions
EXPOSE 8002 8004 9002
HEALTHCHECK --interval=5s --timeout=15s --start-period=60s --start-interval=1s \
    CMD ["python", "-m", "roots.runtime.probe", "9002"]
CMD ["python", "-m", "roots_subscriptions"]
LABEL org.opencontainers.image.description="Decides which uid may receive which path; the back-end API"


FROM runtime AS run-longpoll
EXPOSE 8008 9008
HEALTHCHECK --interval=5s --timeout=15s --start-period=60s --start-interval=1s \
    CMD ["python", "-m", "roots.runtime.probe", "9008"]
CMD ["python", "-m", "roots_longpoll"]
LABEL org.opencontainers.image.description="Holds polls and delivers events in order, without loss"


FROM ${HAPROXY_IMAGE} AS gateway
COPY deploy/haproxy /etc/haproxy
USER 10001:10001
WORKDIR /
EXPOSE 4020 5020
# Ends once the requests under way are answered; SIGTERM would cut them. SIGUSR2 reloads: old requests stay with the old worker.
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=5s --timeout=15s --start-period=30s --start-interval=1s \
    CMD ["wget", "-q", "-T", "2", "-O", "/dev/null", "http://127.0.0.1:5020/readyz"]
ENTRYPOINT ["haproxy"]
CMD ["-W", "-db", "-f", "/etc/haproxy/haproxy.cfg", "-f", "/etc/haproxy/by-name.cfg"]
ARG VERSION=0.1.0 REVISION=unknown
LABEL org.opencontainers.image.title="roots-gateway" \
    org.opencontainers.image.description="One origin for browsers: HAProxy in front of the services" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.licenses="Apache-2.0"


FROM ${NATS_IMAGE} AS nats
COPY deploy/nats /etc/nats
# A new volume takes its owner from here.
RUN mkdir /data && chown 10001:10001 /data
USER 10001:10001
EXPOSE 4222 8222
# Docker starts a container again when its process ends, not when it is unhealthy: so this ends the process.
HEALTHCHECK --interval=5s --timeout=15s --start-period=60s --start-interval=1s \
    CMD ["/bin/sh", "/etc/nats/health.sh", "heal", "http://127.0.0.1:8222", "/data"]
ENTRYPOINT ["/bin/sh", "/etc/nats/start.sh"]
CMD ["-c", "/etc/nats/nats.conf", "-a", "0.0.0.0", "-p", "4222", "-m", "8222", "-sd", "/data"]
ARG VERSION=0.1.0 REVISION=unknown
LABEL org.opencontainers.image.title="roots-nats" \
    org.opencontainers.image.description="NATS with JetStream, and a user for each service" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.licenses="Apache-2.0"


# The last stage is built when no target is named.
FROM run-${SERVICE} AS service
ARG SERVICE VERSION=0.1.0 REVISION=unknown
LABEL org.opencontainers.image.title="roots-${SERVICE}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.licenses="Apache-2.0"
