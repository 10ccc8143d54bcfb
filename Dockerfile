# The one image: operator (`run`), worker of a transfer (`transfer`) and administrator's tool (`check`).
# What is in it, its build arguments and secrets: docs/image.md.
ARG BASE_IMAGE=debian:bookworm-slim

# --- the system of both other stages: Debian's Python and CA certificates, and the user
FROM ${BASE_IMAGE} AS system
# hadolint ignore=DL3008
RUN if ! command -v python3 || ! test -e /etc/ssl/certs/ca-certificates.crt; then \
        apt-get update && \
        apt-get install --yes --no-install-recommends ca-certificates python3 && \
        rm -rf /var/lib/apt/lists/* /var/cache/apt/*; \
    fi && \
    groupadd --gid 65532 dtool && \
    useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin dtool && \
    install --directory --owner=65532 --group=65532 --mode=0700 /var/lib/dtool-operator && \
    rm -f /var/log/faillog /var/log/lastlog

# --- wheels: exactly those of uv.lock, by their hashes, and this project's own
FROM system AS build
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install --yes --no-install-recommends python3-venv && \
    rm -rf /var/lib/apt/lists/*
ARG UV_VERSION=0.13.9
# the secrets exist where the package index is not reached without settings; they are in no layer
# hadolint ignore=SC1091
RUN --mount=type=secret,id=package_access --mount=type=secret,id=ca_bundle \
    if [ -f /run/secrets/package_access ]; then . /run/secrets/package_access; fi && \
    python3 -m venv /opt/uv && \
    /opt/uv/bin/python -m pip install --no-cache-dir "uv==${UV_VERSION}"
# bytecode is compiled here, once, and never compared with its source: the last stage cannot write any
ENV PATH=/opt/uv/bin:$PATH \
    PYC_INVALIDATION_MODE=UNCHECKED_HASH \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never \
    VIRTUAL_ENV=/opt/dtool-operator
WORKDIR /source
COPY pyproject.toml uv.lock ./
# hadolint ignore=SC1091
RUN --mount=type=secret,id=package_access --mount=type=secret,id=ca_bundle \
    if [ -f /run/secrets/package_access ]; then . /run/secrets/package_access; fi && \
    uv export --quiet --frozen --no-dev --extra operator --no-emit-project --output-file /wheels.txt && \
    uv venv --python /usr/bin/python3 "$VIRTUAL_ENV" && \
    uv pip install --require-hashes --only-binary :all: --requirement /wheels.txt && \
    uv export --quiet --frozen --only-group build --output-file /build.txt && \
    uv venv --python /usr/bin/python3 /opt/build && \
    uv pip install --python /opt/build --require-hashes --only-binary :all: --requirement /build.txt
COPY README.md LICENSE ./
COPY dtool_s3 dtool_s3
COPY operator operator
RUN uv build --quiet --offline --wheel --no-build-isolation --python /opt/build --out-dir /wheels && \
    uv pip install --offline --no-deps /wheels/*.whl

# --- what is shipped: the system, and the environment as it is
FROM system
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dtool-operator" \
      org.opencontainers.image.description="dtool datasets in S3, declared in Kubernetes" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/dtool-operator /opt/dtool-operator
ENV PATH=/opt/dtool-operator/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["dtool-operator"]
CMD ["run"]
