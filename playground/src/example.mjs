// What a new visitor sees: a file with something for every tab.

export const EXAMPLE = {
  text: `# syntax=docker/dockerfile:1
ARG NODE=22
FROM node:\${NODE}-slim AS Deps
WORKDIR /app
COPY package.json package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci

FROM deps AS build
copy . .
RUN npm run build && \\
    npm prune --omit=dev

FROM debian
RUN apt-get update && apt-get install -y nodejs
WORKDIR /app
COPY --from=build /app/dist ./dist
COPY --from=deps /app/node_modules ./node_modules
COPY settings.json ./
ENV NODE_ENV production
EXPOSE 8080
CMD node dist/server.js
`,
  ignore: `node_modules
**/*.log
`,
  files: `package.json
package-lock.json
src/server.ts
src/routes/index.ts
tsconfig.json
debug.log
`,
};
