# escape=`
FROM mcr.microsoft.com/windows/nanoserver:ltsc2022 AS w
SHELL ["powershell", "-Command"]
WORKDIR C:\app
COPY a b C:/x/
RUN dir `
  C:\
FROM golang:1.22 AS b
RUN --mount=type=cache,target=/root/.cache,id=go,sharing=locked,mode=0755,uid=1,gid=2 `
    --mount=type=bind,from=w,source=/a,target=/b,rw `
    --mount=type=secret,id=tok,env=TOKEN,required=true `
    --mount=type=ssh --mount=type=tmpfs,target=/t,size=64m `
    --network=none --security=insecure go build
ONBUILD COPY --from=w . /x
ONBUILD RUN echo ${A:+$B} ${C:?no} ${D#*/} ${E%%.*} ${F/x/y} ${G//a/b}
USER 1000:1000
VOLUME ["/a", "/b"] 
VOLUME /c /d
EXPOSE 80/tcp 53/udp $PORT 1000-1010
MAINTAINER nobody <a@b.c>
