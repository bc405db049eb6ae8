/* Included before every C++ file that GCC compiles (compiler.cmake).
 *
 * llama.cpp fills the 64 bytes of an AMX tile configuration on the stack and hands their address to the intrinsic
 * _tile_loadconfig. GCC's says that the instruction reads eight of them, so GCC leaves out the other stores, and the
 * first quantized matrix ends the process with SIGSEGV at ldtilecfg. Here the instruction reads all 64.
 * Instruction: LDTILECFG, Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.
 */
#if defined(__GNUC__) && !defined(__clang__) && defined(__AMX_TILE__) && defined(__x86_64__)
#include <immintrin.h>
#undef _tile_loadconfig
#define _tile_loadconfig(config) \
    __asm__ volatile("ldtilecfg\t%X0" : : "m"(*(const char (*)[64])(config)) : "memory")
#endif
