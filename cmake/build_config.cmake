# SPDX-License-Identifier: Apache-2.0
# Run at every build (cmake -P): writes nvfp4j_build_config.hpp, and touches it only when something changed, so that
# a commit recompiles one small file and not the library.
set(REVISION "unknown")
find_program(git git)
if(git)
  # In a source archive inside somebody else's repository, git would answer with a stranger's revision.
  execute_process(COMMAND "${git}" -C "${SOURCE_DIR}" rev-parse --show-prefix
                  OUTPUT_VARIABLE prefix ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE result)
  if(result EQUAL 0 AND prefix STREQUAL "")
    execute_process(COMMAND "${git}" -C "${SOURCE_DIR}" describe --always --dirty --abbrev=12 --exclude=*
                    OUTPUT_VARIABLE text ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE result)
    if(result EQUAL 0)
      set(REVISION "${text}")
    endif()
  endif()
endif()
configure_file("${SOURCE_DIR}/cmake/build_config.hpp.in" "${OUTPUT}" @ONLY)
