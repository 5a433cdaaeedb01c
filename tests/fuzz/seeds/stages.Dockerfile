FROM scratch AS a
FROM a AS b
FROM a AS c
COPY --from=b / /
FROM b
COPY --from=c /x /y
COPY --from=1 /x /z
COPY --from=alpine:3 /etc/os-release /
ADD git@example.com:o/r.git#main:sub /r
ADD --keep-git-dir=true https://example.com/o/r.git#v1 /s
ADD --unpack=false x.tar /
RUN --mount=from=c,target=/m true
FROM c AS d
RUN true
