# SPDX-License-Identifier: Apache-2.0
# Shared by nvfp4j, run-tests and run-bench; each sets `bundle` to its own folder, which may be read-only.
java=$bundle/runtime/bin/java
libraries=$bundle/natives/META-INF/native/linux-x86_64
jvm=(--enable-native-access=ALL-UNNAMED --illegal-native-access=deny)

die() {
  echo "$(basename "$0"): $*" >&2
  exit 3
}

[[ $(uname -sm) == "Linux x86_64" ]] || die "this is $(uname -sm); the bundle runs on Linux x86_64"
[[ -x $java ]] || die "$java cannot be executed: unpack the whole archive on a file system that allows it"

# The class path of everything that is not a test, then of other people's jars.
class_path() {
  local module entries=("$bundle/natives")
  for module in "$@"; do
    entries+=("$bundle/classes/$module")
  done
  entries+=("$bundle"/jars/*.jar)
  (
    IFS=:
    echo "${entries[*]}"
  )
}
