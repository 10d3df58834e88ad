# SPDX-License-Identifier: Apache-2.0
# Sourced by ./nvfp4j and the scripts in tools/: find_jdk25 sets `jdk` to the home of a JDK 25 or newer, or leaves it empty.
# Order: NVFP4J_JAVA (a JDK's home or a java program; nothing else is tried when it is set), JAVA_HOME, the JDK that Maven's
# toolchain plugin chose at the last build (target/jdk-home.txt), then /usr/lib/jvm and java on the path.

# The feature version of the JDK at HOME, or 0.
jdk_version() {
  local version=""
  [[ -x $1/bin/java ]] || { echo 0; return; }
  if [[ -r $1/release ]]; then
    version=$(sed -n 's/^JAVA_VERSION="\(1\.\)\{0,1\}\([0-9]*\).*/\2/p' "$1/release")
  fi
  if [[ -z $version ]]; then
    version=$("$1/bin/java" -version 2>&1 | sed -n '1s/[^"]*"\(1\.\)\{0,1\}\([0-9]*\).*/\2/p')
  fi
  echo "${version:-0}"
}

# Sets jdk, and jdk_complaint when a JDK that was asked for cannot be used.
find_jdk25() {
  local root=$1 candidate on_path
  jdk=""
  jdk_complaint=""
  if [[ -n ${NVFP4J_JAVA:-} ]]; then
    candidate=$NVFP4J_JAVA
    if [[ -f $candidate ]]; then
      candidate=$(dirname "$(dirname "$(readlink -f "$candidate")")")
    fi
    local version
    version=$(jdk_version "$candidate")
    if ((version >= 25)); then
      jdk=$candidate
    elif ((version == 0)); then
      jdk_complaint="NVFP4J_JAVA=$NVFP4J_JAVA is neither a JDK nor a java program; name a JDK 25 or newer."
    else
      jdk_complaint="NVFP4J_JAVA=$NVFP4J_JAVA is Java $version; name a JDK 25 or newer."
    fi
    return
  fi
  on_path=$(command -v java || true)
  for candidate in "${JAVA_HOME:-}" "$(cat "$root/target/jdk-home.txt" 2>/dev/null || true)" /usr/lib/jvm/* \
    ${on_path:+"$(dirname "$(dirname "$(readlink -f "$on_path")")")"}; do
    if [[ -n $candidate ]] && (($(jdk_version "$candidate") >= 25)); then
      jdk=$candidate
      return
    fi
  done
}
