# syntax=docker/dockerfile:1
# Development only: the services from source on simulated hardware. Nothing is protected.
ARG NODE_IMAGE
FROM ${NODE_IMAGE}
WORKDIR /source
COPY --chown=node:node package.json package-lock.json ./
COPY --chown=node:node packages/veritee/package.json packages/veritee/package.json
COPY --chown=node:node packages/services/package.json packages/services/package.json
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY --chown=node:node . .
RUN install -d -o node -g node /state
USER node
ENTRYPOINT ["node", "tools/run.mjs", "--conditions=@veritee/source", "packages/services/src/bin/veriteed.ts"]
