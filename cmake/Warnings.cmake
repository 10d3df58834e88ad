# SPDX-License-Identifier: Apache-2.0
# nvfp4j_flags: what every hand-written file is compiled with.
#
# Contraction is off everywhere, and no fast-math anywhere: a fused multiply-add changes bits, and the clones of a
# multi-versioned function would be contracted differently. Code that means a fused operation writes fma.
#
# -fno-math-errno and -fno-trapping-math change no value: they let g++ 12 vectorise square roots and loops with selects.
#
# The language level is a plain flag: CMake 3.25 cannot give C++20 to nvcc as a property, and a CXX_STANDARD would be
# handed on to CUDA.
add_library(nvfp4j_flags INTERFACE)
set(warnings -Wall -Wextra)
if(NVFP4J_WERROR)
  list(APPEND warnings -Werror)
endif()
# g++ 12 warns of a copy inside std::string + "literal" that cannot happen (https://gcc.gnu.org/PR105651).
set(false_alarms "")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  set(false_alarms -Wno-restrict)
endif()
target_compile_options(nvfp4j_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-std=c++20;${warnings};${false_alarms};-ffp-contract=off;-fno-math-errno;-fno-trapping-math;-ffunction-sections;-fdata-sections>")
if(NVFP4J_SANITIZE)
  target_compile_options(nvfp4j_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${NVFP4J_SANITIZE};-fno-omit-frame-pointer;-fno-sanitize-recover=all>")
  target_link_options(nvfp4j_flags INTERFACE -fsanitize=${NVFP4J_SANITIZE})
endif()
if(NVFP4J_CUDA)
  string(JOIN "," host ${warnings} -ffp-contract=off -ffunction-sections -fdata-sections)
  set(device -std=c++20 -fmad=false -ftz=false -prec-div=true -prec-sqrt=true -Wno-deprecated-gpu-targets)
  if(NVFP4J_WERROR)
    list(APPEND device "SHELL:-Werror all-warnings")
  endif()
  target_compile_options(nvfp4j_flags INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:${device};-Xcompiler=${host};$<$<CONFIG:Debug,RelWithDebInfo>:-lineinfo>>")
endif()
