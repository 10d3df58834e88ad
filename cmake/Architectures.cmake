# SPDX-License-Identifier: Apache-2.0
# What a kernel's file name says about where it runs:
#   *_generic.cu   nothing of Hopper's own: sm_90 code, plus compute_80 PTX for every other card from Ampere on
#   *_sm90.cu      wgmma, TMA or clusters: sm_90a code, and nothing else can run it
set(NVFP4J_GENERIC_ARCHITECTURES 90-real 80-virtual)
set(NVFP4J_SM90_ARCHITECTURES 90a-real)

# nvfp4j_cuda_objects(<target> ARCHITECTURES <...> SOURCES <...>): an object library of kernels, with a ptxas report beside each object.
function(nvfp4j_cuda_objects target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "ARCHITECTURES;SOURCES")
  add_library(${target} OBJECT ${arg_SOURCES})
  set_target_properties(${target} PROPERTIES CUDA_ARCHITECTURES "${arg_ARCHITECTURES}"
    CUDA_COMPILER_LAUNCHER "${Python3_EXECUTABLE};${CMAKE_SOURCE_DIR}/cmake/ptxas_report.py")
  # Compressed, machine code is a quarter of its size; the driver takes it apart when a kernel is loaded.
  target_compile_options(${target} PRIVATE -Xptxas=-v --threads=2 -Xfatbin=-compress-all)
  target_link_libraries(${target} PRIVATE nvfp4j_flags)
endfunction()

# nvfp4j_link_cutlass(<target> <file>...): adds the CUTLASS headers when one of the sources, or of the headers that they may include,
# includes them.
function(nvfp4j_link_cutlass target)
  foreach(file IN LISTS ARGN)
    file(STRINGS "${file}" lines REGEX "^#include [<\"](cute|cutlass)/")
    if(lines)
      nvfp4j_require_cutlass()
      target_link_libraries(${target} PRIVATE nvfp4j::cutlass)
      return()
    endif()
  endforeach()
  # Nobody does yet: look again when one of them has changed.
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${ARGN})
endfunction()
