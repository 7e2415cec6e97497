# The agent and the compiler, static, and nothing else: no shell, no libraries, no package manager.
# docs/install.md says how it is run; `scripts/static.sh` is the whole build, and is tested without an engine.
FROM docker.io/library/rust:1.95-bookworm AS build
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends musl-tools
WORKDIR /src
COPY . .
RUN scripts/static.sh /out

FROM scratch
LABEL org.opencontainers.image.title="portcullis" \
      org.opencontainers.image.description="Compiled network policy: compiler and node agent" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/ /
# The agent needs root and seven capabilities, which its DaemonSet asks for; everything else runs as nobody.
USER 65532:65532
ENTRYPOINT ["/usr/bin/portcullis-agent"]
