# Two images. The default one holds the proxy alone:
#
#   docker build -t example.org/causeway:0.1.0 .
#
# The injector expects more of the image it is given than a proxy. What is not there yet (the proxy makes its
# own key and signing request, so no start helper is needed):
#   /usr/lib/linkerd/linkerd2-proxy-init          redirects the pod's traffic; a default install needs it
#   /usr/lib/linkerd/linkerd2-network-validator   takes its place where a CNI plugin redirects
#   /usr/lib/linkerd/linkerd-await                postStart hook
#   /bin/sleep                                    preStop hook, where an exit delay is set
# `onto-linkerd` takes them from the image that is in use and replaces the proxy in it:
#
#   docker build --target onto-linkerd --build-arg LINKERD_PROXY=<image>:<tag> -t example.org/causeway:0.1.0 .

ARG LINKERD_PROXY=scratch

# An old C library on purpose: what is linked against it runs on newer ones as well.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /causeway
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY src src
COPY examples examples
# Cargo looks for every target that the manifest names.
COPY benches benches
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/causeway/target \
    cargo build --release --locked && cp target/release/causeway /linkerd2-proxy

FROM ${LINKERD_PROXY} AS onto-linkerd
COPY --from=build /linkerd2-proxy /usr/lib/linkerd/linkerd2-proxy

FROM debian:bookworm-slim AS runtime
COPY LICENSE /usr/lib/linkerd/LICENSE
COPY --from=build /linkerd2-proxy /usr/lib/linkerd/linkerd2-proxy
# The injector sets no command. It runs this as user 2102, with a root file system that is read-only;
# key and signing request are made in the mounted identity folder.
USER 2102
ENTRYPOINT ["/usr/lib/linkerd/linkerd2-proxy", "proxy"]
