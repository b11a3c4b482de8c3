# The worker, the starter and the emulator in one image: python as the process, no root, nothing written outside mounts.
#
# A tag can be moved. To build from the same bytes each time, put the digest behind both: `FROM python:TAG@sha256:...`,
# as `docker buildx imagetools inspect python:TAG --format '{{.Manifest.Digest}}'` prints it; the same again with each
# new tag, which brings the fixes of Debian. None is written here without having been compared.
FROM python:3.13.14-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY deploy/requirements.lock deploy/build.lock ./
# Installed from outside, so that what runs has no pip.
RUN python -m venv --without-pip /opt/venv && \
    python -m pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r requirements.lock && \
    # The sources of the SDK's core, which is there as compiled.
    rm -r /opt/venv/lib/python3*/site-packages/temporalio/bridge/sdk-core
RUN python -m venv --without-pip /opt/build && \
    python -m pip --python /opt/build/bin/python install --require-hashes --only-binary :all: -r build.lock
COPY pyproject.toml README.md LICENSE worker.py ./
COPY activities/ activities/
COPY workflows/ workflows/
COPY message_batches/ message_batches/
RUN /opt/build/bin/hatchling build --target wheel --directory dist && \
    python -m pip --python /opt/venv/bin/python install --no-deps --no-index dist/*.whl

# Apart, so that the tool and what it needs take no part in what runs.
FROM build AS sbom
COPY deploy/sbom.lock ./
RUN python -m venv --without-pip /opt/sbom && \
    python -m pip --python /opt/sbom/bin/python install --require-hashes --only-binary :all: -r sbom.lock && \
    /opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-file sbom.cdx.json /opt/venv/bin/python

FROM python:3.13.14-slim-trixie
LABEL org.opencontainers.image.title=message-batches \
      org.opencontainers.image.description="Owns a Claude message batch from submission to checked results" \
      org.opencontainers.image.version=0.2.0 \
      org.opencontainers.image.licenses=MIT
# The base brings them for the stage above.
RUN python -c "import ensurepip, pip, shutil; [shutil.rmtree(tool.__path__[0]) for tool in (ensurepip, pip)]"
# A home for any user; and a store that is not mounted is an error, not a folder that is lost with the container.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    MESSAGE_BATCHES_STORE=file:///data/store \
    MESSAGE_BATCHES_SCRATCH=/scratch
WORKDIR /app
COPY --from=build /opt/venv /opt/venv
COPY --from=sbom /src/sbom.cdx.json ./
COPY arazzo/claude-batch-process-and-retrieve-results-workflow.yml arazzo/
COPY arazzo/openapi/ arazzo/openapi/
COPY examples/requests.jsonl examples/
COPY activities/ activities/
COPY workflows/ workflows/
COPY worker.py starter.py ./
# Compiled now, as the root file system is read-only later; a volume at /scratch starts with these permissions.
RUN python -m compileall -q . && install -d -m 1777 /scratch
USER 1000:1000
EXPOSE 8079
ENTRYPOINT ["python"]
CMD ["/app/worker.py", "--health", "0.0.0.0:8079"]
