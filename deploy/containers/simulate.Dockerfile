# syntax=docker/dockerfile:1
# The services from source, without an enclave: log, witness and validator, which need none; the others on simulated hardware, where nothing is protected.
ARG NODE_IMAGE
FROM ${NODE_IMAGE}
WORKDIR /source
COPY --chown=node:node package.json package-lock.json ./
COPY --chown=node:node packages/veritee/package.json packages/veritee/package.json
COPY --chown=node:node packages/services/package.json packages/services/package.json
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund
COPY --chown=node:node . .
RUN install -d -o node -g node /state
USER node
# Not tools/run.mjs: that installs what is missing, and here nothing may be written.
ENTRYPOINT ["node", "--conditions=@veritee/source", "packages/services/src/bin/veriteed.ts"]
