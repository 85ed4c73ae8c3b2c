# The plugin and nothing else: for Vault's containerized plugins (`vault plugin register
# -oci_image`), for OpenBao's `plugin` block, and to copy it from into an image or volume of your
# own. GoReleaser builds the program and hands it over, a folder for each platform.

# Where a plugin runs in its container, Palette's certificate is checked against these.
FROM --platform=$BUILDPLATFORM alpine:3.22 AS certificates

FROM scratch
ARG TARGETPLATFORM
COPY --from=certificates /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY LICENSE /LICENSE
# OpenBao takes a program from the root of an image (https://openbao.org/docs/configuration/plugins).
COPY $TARGETPLATFORM/vault-plugin-secrets-palette /vault-plugin-secrets-palette
# Any user without rights; a number, as there is no /etc/passwd to look a name up in.
USER 65532:65532
ENTRYPOINT ["/vault-plugin-secrets-palette"]
