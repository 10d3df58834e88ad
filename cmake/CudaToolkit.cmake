# SPDX-License-Identifier: Apache-2.0
# Chooses the CUDA compiler, and enables the language with it.
#
# 1. NVFP4J_CUDA_TOOLKIT=<folder> or CUDACXX: that one, or an error.
# 2. A system toolkit 13.x: CUDA_HOME, CUDA_PATH, CUDAToolkit_ROOT, PATH, /usr/local/cuda. Another version is named and not used.
# 3. The wheels pinned in cuda-wheels.txt, unpacked into a cache (fetch_wheels.py).
#
# Defines: NVFP4J_CUDA_ROOT, NVFP4J_CUDA_VERSION, NVFP4J_CUDA_LICENSE (a file, or empty), and
#   nvfp4j::cuda_headers   headers for host code
#   nvfp4j::cudart         the shared runtime (the library that ships beside ours)

set(NVFP4J_CUDA_MAJOR 13)

# nvcc's version ("13.0.88"), its toolkit's folder and libcudart; all empty when the nvcc does not run or is incomplete.
function(nvfp4j_inspect_nvcc nvcc out_version out_root out_cudart)
  set(version "")
  set(root "")
  set(cudart "")
  execute_process(COMMAND "${nvcc}" --version OUTPUT_VARIABLE text ERROR_QUIET RESULT_VARIABLE result)
  if(result EQUAL 0 AND text MATCHES "V([0-9]+\\.[0-9]+\\.[0-9]+)")
    set(version "${CMAKE_MATCH_1}")
    # nvcc on PATH may be a link or a wrapper script; what it calls its top is the truth.
    execute_process(COMMAND "${nvcc}" --dryrun -c -x cu /dev/null -o /dev/null ERROR_VARIABLE dryrun OUTPUT_QUIET)
    if(dryrun MATCHES "TOP=([^\r\n]+)")
      file(REAL_PATH "${CMAKE_MATCH_1}" root)
      find_file(found NAMES "libcudart.so.${NVFP4J_CUDA_MAJOR}" PATHS "${root}/lib64" "${root}/lib" "${root}/targets/x86_64-linux/lib"
                NO_DEFAULT_PATH NO_CACHE)
      if(found)
        set(cudart "${found}")
      endif()
    endif()
  endif()
  set(${out_version} "${version}" PARENT_SCOPE)
  set(${out_root} "${root}" PARENT_SCOPE)
  set(${out_cudart} "${cudart}" PARENT_SCOPE)
endfunction()

# The pinned wheels, unpacked: sets `out` to the folder.
function(nvfp4j_fetch_wheels out name requirements)
  execute_process(
    COMMAND "${Python3_EXECUTABLE}" "${CMAKE_SOURCE_DIR}/cmake/fetch_wheels.py" ${name} "${CMAKE_SOURCE_DIR}/cmake/${requirements}" ${ARGN}
    OUTPUT_VARIABLE folder OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "nvfp4j: ${name} could not be fetched (the sentence above says why).")
  endif()
  set(${out} "${folder}" PARENT_SCOPE)
endfunction()

set(nvcc "")
set(required OFF)
set(candidates "")
if(NVFP4J_CUDA_TOOLKIT STREQUAL "auto")
  if(DEFINED ENV{CUDACXX})
    set(candidates "$ENV{CUDACXX}")
    set(required ON)
  else()
    foreach(variable CUDA_HOME CUDA_PATH CUDAToolkit_ROOT)
      if(DEFINED ENV{${variable}})
        list(APPEND candidates "$ENV{${variable}}/bin/nvcc")
      endif()
    endforeach()
    find_program(on_path nvcc NO_CACHE)
    if(on_path)
      list(APPEND candidates "${on_path}")
    endif()
    list(APPEND candidates /usr/local/cuda/bin/nvcc "/usr/local/cuda-${NVFP4J_CUDA_MAJOR}/bin/nvcc")
    list(REMOVE_DUPLICATES candidates)
  endif()
elseif(NOT NVFP4J_CUDA_TOOLKIT STREQUAL "wheels")
  set(candidates "${NVFP4J_CUDA_TOOLKIT}/bin/nvcc")
  set(required ON)
endif()

foreach(candidate IN LISTS candidates)
  if(NOT EXISTS "${candidate}")
    if(required)
      message(FATAL_ERROR "nvfp4j: ${candidate} does not exist; NVFP4J_CUDA_TOOLKIT names a toolkit's folder, CUDACXX an nvcc.")
    endif()
    continue()
  endif()
  nvfp4j_inspect_nvcc("${candidate}" version root cudart)
  if(version VERSION_GREATER_EQUAL ${NVFP4J_CUDA_MAJOR} AND version VERSION_LESS 14 AND cudart)
    set(nvcc "${root}/bin/nvcc")
    if(NOT EXISTS "${nvcc}")
      set(nvcc "${candidate}")
    endif()
    set(NVFP4J_CUDA_ROOT "${root}")
    break()
  endif()
  if(NOT version)
    set(reason "it does not run")
  elseif(NOT cudart AND version MATCHES "^${NVFP4J_CUDA_MAJOR}\\.")
    set(reason "its toolkit has no libcudart.so.${NVFP4J_CUDA_MAJOR}")
  else()
    set(reason "it is version ${version}, and ${NVFP4J_CUDA_MAJOR}.x is needed")
  endif()
  if(required)
    message(FATAL_ERROR "nvfp4j: ${candidate} cannot be used: ${reason}.")
  endif()
  message(STATUS "nvfp4j: ${candidate} is not used: ${reason}")
endforeach()

if(NOT nvcc)
  nvfp4j_fetch_wheels(folder cuda-13.0 cuda-wheels.txt)
  set(NVFP4J_CUDA_ROOT "${folder}/nvidia/cu13")
  set(nvcc "${NVFP4J_CUDA_ROOT}/bin/nvcc")
  nvfp4j_inspect_nvcc("${nvcc}" version root cudart)
  if(NOT version OR NOT cudart)
    message(FATAL_ERROR "nvfp4j: the cached CUDA compiler in ${folder} does not run: remove that folder and build again.")
  endif()
endif()
set(NVFP4J_CUDA_VERSION "${version}")
set(NVFP4J_CUDART "${cudart}")
message(STATUS "nvfp4j: CUDA ${version}, ${nvcc}")

# A build folder keeps its compiler for life; when the choice changes, say so instead of mixing two.
if(CMAKE_CUDA_COMPILER AND NOT CMAKE_CUDA_COMPILER STREQUAL nvcc AND DEFINED CACHE{CMAKE_CUDA_COMPILER})
  message(FATAL_ERROR "nvfp4j: this build folder was made with ${CMAKE_CUDA_COMPILER}, and now ${nvcc} is chosen: remove ${CMAKE_BINARY_DIR}.")
endif()
set(CMAKE_CUDA_COMPILER "${nvcc}" CACHE FILEPATH "CUDA compiler" FORCE)
set(CMAKE_CUDA_HOST_COMPILER "${CMAKE_CXX_COMPILER}" CACHE FILEPATH "nvcc's host compiler" FORCE)
set(CMAKE_CUDA_ARCHITECTURES OFF) # every target names its own (Architectures.cmake)
set(CMAKE_CUDA_RUNTIME_LIBRARY None) # linked by name, through nvfp4j::cudart
enable_language(CUDA)
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)

add_library(nvfp4j_cuda_headers INTERFACE)
add_library(nvfp4j::cuda_headers ALIAS nvfp4j_cuda_headers)
target_include_directories(nvfp4j_cuda_headers SYSTEM INTERFACE "${NVFP4J_CUDA_ROOT}/include")

# The name on the disk is libcudart.so.13.x.y in a system toolkit, and a link of its SONAME leads there.
add_library(nvfp4j::cudart SHARED IMPORTED GLOBAL)
set_target_properties(nvfp4j::cudart PROPERTIES IMPORTED_LOCATION "${NVFP4J_CUDART}" IMPORTED_SONAME "libcudart.so.${NVFP4J_CUDA_MAJOR}")

file(GLOB licenses "${NVFP4J_CUDA_ROOT}/../../nvidia_cuda_runtime-*.dist-info/licenses/License.txt" "${NVFP4J_CUDA_ROOT}/EULA.txt")
set(NVFP4J_CUDA_LICENSE "")
if(licenses)
  list(GET licenses 0 NVFP4J_CUDA_LICENSE)
endif()

# nvfp4j::cutlass: CuTe and CUTLASS headers, fetched when the first kernel asks for them and not before.
function(nvfp4j_require_cutlass)
  if(NOT TARGET nvfp4j::cutlass)
    nvfp4j_fetch_wheels(folder cutlass-4.2.0 cutlass-wheel.txt --only "cutlass_library/source/include/*")
    add_library(nvfp4j::cutlass INTERFACE IMPORTED GLOBAL)
    target_include_directories(nvfp4j::cutlass SYSTEM INTERFACE "${folder}/cutlass_library/source/include")
  endif()
endfunction()
