# Read by CMake right after llama-cpp-python's project(): CMAKE_PROJECT_llama_cpp_INCLUDE names this file.
# The header beside it goes before every C++ file; other compilers than GCC need nothing.
add_compile_options(
    "$<$<COMPILE_LANG_AND_ID:CXX,GNU>:SHELL:-include \"${CMAKE_CURRENT_LIST_DIR}/amx_tiles.h\">")
