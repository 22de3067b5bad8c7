# syntax=docker/dockerfile:1

# The binary is linked against glibc (SQLite is C), so that both stages are of
# the same Debian release.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY acme ./acme
COPY admin ./admin
COPY ca ./ca
COPY cmd ./cmd
COPY crl ./crl
COPY ocsp ./ocsp
COPY storage ./storage
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=1 go build -trimpath -ldflags="-s -w" -o /out/chancery ./cmd/chancery
# A volume takes owner and mode from the directory it is mounted over.
RUN install -d -m 0700 -o 65532 -g 65532 /out/data && install -d -m 0755 -o 65532 -g 65532 /out/trust

FROM gcr.io/distroless/base-debian12:nonroot
LABEL org.opencontainers.image.title="Chancery" \
      org.opencontainers.image.description="ACME (RFC 8555) certificate authority" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/chancery /usr/local/bin/chancery
COPY --from=build --chown=65532:65532 --chmod=0700 /out/data /data
COPY --from=build --chown=65532:65532 --chmod=0755 /out/trust /trust
USER 65532:65532
ENV CHANCERY_DIR=/data
VOLUME ["/data"]
# ACME over HTTPS; CRL, OCSP and issuer certificates over HTTP. The admin
# listener stays on the container's loopback.
EXPOSE 14000 14080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["/usr/local/bin/chancery", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/chancery"]
CMD ["serve"]
