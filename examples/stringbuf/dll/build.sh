#!/bin/sh
# Builds the library, the C programs, and the peers for the tests:
#
#	build.sh linux|windows DIR
#
# It needs Go and a C compiler: cc, or x86_64-w64-mingw32-gcc for Windows. CC selects another.
set -eu
platform=$1
mkdir -p "$2"
out=$(cd "$2" && pwd)
cd "$(dirname "$0")"

export CGO_ENABLED=1 GOOS="$platform"
case $platform in
linux)
	export GOARCH="$(go env GOHOSTARCH)" CC="${CC:-cc}"
	exe= ours=libstringbuf.so theirs=libsample.so
	# Programs find the library in their own directory. Older C libraries have threads, shm_open and dlopen in separate
	# libraries.
	system='-Wl,-rpath,$ORIGIN -lpthread -lrt -ldl'
	;;
windows)
	export GOARCH=amd64 CC="${CC:-x86_64-w64-mingw32-gcc}"
	exe=.exe ours=stringbuf.dll theirs=sample.dll
	system=
	;;
*)
	echo "usage: $0 linux|windows DIR" >&2
	exit 2
	;;
esac

compile() { # compile OUTPUT ARG…
	output=$out/$1
	shift
	# shellcheck disable=SC2086 # an empty $system must add no argument
	"$CC" -std=gnu11 -O1 -Wall -Wextra -I. -L"$out" -o "$output" "$@" $system
}

go build -buildmode=c-shared -o "$out/$ours" .
compile "$theirs" -shared -fPIC testdata/sample.c

for program in parent child; do
	compile "$program$exe" "c/$program.c" -lstringbuf
	compile "drop_in_$program$exe" "testdata/sample_$program.c" -lstringbuf
	compile "sample_$program$exe" "testdata/sample_$program.c" -lsample
done
compile "peer$exe" testdata/peer.c -lstringbuf
compile "sample_peer$exe" testdata/peer.c -lsample
compile "torture$exe" testdata/torture.c -lstringbuf
compile "reload$exe" testdata/reload.c
