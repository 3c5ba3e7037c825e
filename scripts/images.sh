#!/bin/bash
# Builds the images of command, projector and query for two platforms, each with a
# list of what is in it (CycloneDX, bin/images/*.cdx.json), and holds the programs in
# them against ones built here: they must be the same, byte for byte. What can't be
# done here is named.
#
#   config-api-SERVICE:VERSION-ARCH    VERSION is that of git describe, or $VERSION
set -euo pipefail
cd "$(dirname "$0")/.."
out=bin/images most=$((30 << 20)) failed=()
revision=$(git rev-parse HEAD)
version=${VERSION:-$(git describe --tags --always --dirty)}
image_go=$(sed -n 's/^FROM .*golang:\([0-9.]*\).*/\1/p' deploy/Dockerfile)
export SOURCE_DATE_EPOCH BUILDKIT_PROGRESS=plain
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) # the time in the images
# A module of its own, so that what it needs does not change the linters.
sbom=$(GOWORK=off go -C tools/sbom tool -n cyclonedx-gomod)
rm -rf "$out"
mkdir -p "$out"

build() { # build SERVICE ARCH ARGUMENT…
	docker buildx build -q --platform="linux/$2" -f deploy/Dockerfile --build-arg=SERVICE="$1" --build-arg=VERSION="$version" \
		--build-arg=REVISION="$revision" --build-arg=SOURCE_DATE_EPOCH "${@:3}" .
}

for service in command projector query; do
	for arch in amd64 arm64; do
		name=$service-$arch image=config-api-$service:$version-$arch
		build "$service" "$arch" --target=program --output="$out/$name" >/dev/null
		mv "$out/$name/service" "$out/$name.bin" && rmdir "$out/$name"
		"$sbom" bin -json -noserial -notimestamp -std -version="$version" -output "$out/$name.cdx.json" "$out/$name.bin" 2>/dev/null

		if [ "go$image_go" = "$(go env GOVERSION)" ]; then
			CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOOS=linux GOARCH=$arch go build -trimpath -ldflags='-s -w -buildid=' \
				-o "$out/$name.again" "./services/$service/cmd/$service"
			cmp "$out/$name.bin" "$out/$name.again" || failed+=("$name is not the same twice")
			rm "$out/$name.again"
		else
			echo "images: the comparison NOT RUN: the image has go$image_go, here is $(go env GOVERSION)"
		fi

		if ! said=$(build "$service" "$arch" --tag="$image" --load 2>&1); then
			echo "images: $image NOT BUILT, its program is: $(grep -i error <<<"$said" | tail -1)"
			continue
		fi
		size=$(docker image inspect --format='{{.Size}}' "$image")
		echo "images: $image has $((size >> 20)) MB"
		[ "$size" -le $most ] || failed+=("$image has more than 30 MB")
	done
done
(cd "$out" && sha256sum ./*.bin | tee sha256sums)
docker image inspect --format='images: on {{join .RepoTags " "}} {{join .RepoDigests " "}}' \
	"$(sed -n 's/^FROM \(gcr[^ ]*\).*/\1/p' deploy/Dockerfile)" 2>/dev/null || true

[ ${#failed[@]} = 0 ] && exit
printf 'images: %s\n' "${failed[@]}" >&2
exit 1
