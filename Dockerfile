# One image with the services, the migration and the verifier of approvals. `make image` makes it; docs/containers.md tells more.
ARG BASE=devflow-base:bookworm

FROM $BASE AS packages
COPY containers/requirements.lock build/wheels /wheels/
RUN python3 -m venv /srv/devflow \
    && /srv/devflow/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check \
        --no-index --find-links /wheels --require-hashes -r /wheels/requirements.lock \
    && /srv/devflow/bin/python -m pip uninstall --quiet --yes setuptools pip

FROM $BASE
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin devflow
COPY --from=packages /srv/devflow /srv/devflow
COPY devflow /srv/devflow/app/devflow
COPY harness /srv/devflow/app/harness
# In site-packages, so that an isolated Python (the verifier's) finds both packages, too.
RUN echo /srv/devflow/app > "$(echo /srv/devflow/lib/python3*/site-packages)/devflow.pth" \
    && /srv/devflow/bin/python -m compileall -q /srv/devflow

ENV PATH=/srv/devflow/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    DEVFLOW_DB_PATH=/data/devflow.sqlite \
    DEVFLOW_HOST=0.0.0.0
# The DevFlow root is mounted here. No VOLUME: a forgotten mount is then an error, and no place that is lost.
WORKDIR /data
USER 10001:10001
EXPOSE 8080 8082 8083 8084 8085 8086 8087 8088
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s --retries=3 CMD ["python", "-m", "devflow", "health"]
CMD ["python", "-m", "devflow", "serve"]
