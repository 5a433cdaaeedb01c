FORM alpine
from alpine as Base
FROM base as x y
run
COPY a
ENV
LABEL =a b
CMD ["a" "b"]
EXPOSE 99999999/sctp
ADD --bogus=1 a b
HEALTHCHECK NONE x
ONBUILD ONBUILD RUN a
RUN <<EOF
never ends
