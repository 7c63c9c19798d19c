# syntax=docker/dockerfile:1
# The same enclave in the image of BigDL's PPML, in the place of its FastChat processes and under the same entrypoint: -m controller|worker, its variables,
# ports 21005, 8000 and 21841. Gramine comes with our image: the fork in that one is of 1.3.1 and knows another manifest.
#   docker build -f deploy/containers/bigdl.Dockerfile --build-arg VERITEE_IMAGE=veritee-worker@sha256:... \
#     --build-arg BIGDL_IMAGE=intelanalytics/bigdl-ppml-trusted-bigdl-llm-gramine-ref:2.4.0-SNAPSHOT@sha256:... .
ARG VERITEE_IMAGE
ARG BIGDL_IMAGE

FROM ${VERITEE_IMAGE} AS veritee

FROM ${BIGDL_IMAGE}
ARG BIGDL_IMAGE
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN case "${BIGDL_IMAGE}" in *@sha256:*) ;; *) echo "name BIGDL_IMAGE with its digest" >&2; exit 1 ;; esac
COPY --from=veritee /usr/lib/x86_64-linux-gnu/gramine /usr/lib/x86_64-linux-gnu/gramine
COPY --from=veritee /usr/lib/x86_64-linux-gnu/libstdc++.so.6 /usr/lib/x86_64-linux-gnu/libgcc_s.so.1 /usr/lib/x86_64-linux-gnu/libprotobuf-c.so.1 /usr/lib/x86_64-linux-gnu/
COPY --from=veritee /usr/bin/gramine-sgx /usr/bin/gramine-sgx
# Gramine's loader runs outside of the enclave, with the C library of this image. One that wants a newer library than is here would fail at each start.
RUN if found=$(ldd /usr/lib/x86_64-linux-gnu/gramine/sgx/loader 2>&1) && [[ $found != *'not found'* ]]; then exit 0; fi; \
    printf '%s\n' "$found" "VERITEE_IMAGE: expected Gramine of the distribution that BIGDL_IMAGE is of: build it on such a GRAMINE_IMAGE" >&2; exit 1
COPY --from=veritee /opt/veritee /opt/veritee
COPY --chmod=0755 deploy/containers/entrypoint.sh /opt/entrypoint.sh
RUN install -d -m 0700 /var/lib/veritee/state && install -d -m 0755 /var/lib/veritee/models /etc/veritee
# Its processes are root's; the devices are mounted for root there.
# hadolint ignore=DL3002
USER root
WORKDIR /opt/veritee
EXPOSE 8000 21005 21841
HEALTHCHECK --interval=30s --timeout=5s --start-period=600s CMD ["/opt/entrypoint.sh", "--health"]
ENTRYPOINT ["/opt/entrypoint.sh"]
