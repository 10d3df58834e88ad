# SPDX-License-Identifier: Apache-2.0
# An install script: SHA256SUMS of the installed libraries, in sha256sum's format, behind a comment that names the version. The Java
# loader checks extracted files by it, and names their folder after version and content. NVFP4J_VERSION is set by native/CMakeLists.txt.
set(folder "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}")
file(GLOB libraries RELATIVE "${folder}" "${folder}/*.so" "${folder}/*.so.*")
list(SORT libraries)
set(sums "# nvfp4j ${NVFP4J_VERSION}\n")
foreach(library IN LISTS libraries)
  file(SHA256 "${folder}/${library}" sum)
  string(APPEND sums "${sum}  ${library}\n")
endforeach()
file(WRITE "${folder}/SHA256SUMS" "${sums}")
