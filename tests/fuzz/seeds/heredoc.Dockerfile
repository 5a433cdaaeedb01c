FROM alpine AS a
RUN <<EOF
echo "$HOME" \
  and more
EOF
RUN python3 <<'PY' && cat <<-B >/x
print("x")
PY
	tab
	B
COPY <<one.txt <<"two.txt" /dst/
first $X
one.txt
second
two.txt
ADD <<E http://example.com/x /y/
z
E
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN cat <<EOF1 <<EOF2 | sort
b
EOF1
a
EOF2
