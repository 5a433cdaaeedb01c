ARG A="x y" B='$A' C=${A}${B} D=\$A E=${A:-${B:-${C}}} F="${A#x}" G="${A/ /_}"
FROM img-${A%%?y}:1${X#x} AS st-1
ARG A=é B=日本 C="\"" D='a'"b"c
ENV A=${A} B="${B:+"q"}" C=$C$D D=a=b=c E=
ENV X=${A?must}
WORKDIR $A/../b/./c
COPY --chown=$A:$B $A/* ${B}/
USER ${A:-root}
LABEL k=$A $A=k multi="a \
b" last=1
EXPOSE ${P:-80} ${P:-53}/udp
STOPSIGNAL ${SIG:-9}
