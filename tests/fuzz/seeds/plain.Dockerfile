# syntax=docker/dockerfile:1
# check=skip=JSONArgsRecommended;error=false
ARG BASE=debian ALPINE_TAG="3.19"
FROM --platform=$BUILDPLATFORM ${BASE:-debian}:bookworm-slim@sha256:0000000000000000000000000000000000000000000000000000000000000000 AS build
ARG TARGETARCH VERSION=${VERSION:-dev}
ENV PATH=/opt/bin:$PATH LANG="C.UTF-8" OLD=a\ b
ENV legacy with spaces $PATH
WORKDIR /src/${TARGETARCH}
RUN set -eux; \
    # a comment inside
    apt-get update && \

    apt-get install -y gcc
COPY --chown=1000:users --chmod=u+x,go-w ["with space", "/dst/"]
ADD --checksum=sha256:1111111111111111111111111111111111111111111111111111111111111111 https://example.org/a.tar.gz /opt/
LABEL a=b "c d"='e f' g="h\"i"
FROM scratch
COPY --from=build /src /src
COPY --from=0 --link --parents --exclude=*.o ./a/./b /c/
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=1m30s --start-period=5s --retries=3 CMD ["/a", "-b"]
ENTRYPOINT ["/src/app"]
CMD -h
