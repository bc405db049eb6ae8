/* Included before every C++ file that GCC compiles (compiler.cmake).
 *
 * llama.cpp fills the 64 bytes of an AMX tile configuration on the stack and hands their address to the intrinsic
 * _tile_loadconfig. That of GCC before 14 says that the instruction reads eight of them, so GCC leaves out the other
 * stores, and the first quantized matrix ends the process with SIGSEGV at ldtilecfg. Here the instruction reads all 64.
 *
 * GCC's _tile_loadd says of no memory that it is read, in 14 too: a store to the rows of a tile might be moved behind
 * the instruction that loads them. Here it may read any.
 *
 * Instructions: LDTILECFG and TILELOADD, Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.
 */
#if defined(__GNUC__) && !defined(__clang__) && defined(__AMX_TILE__) && defined(__x86_64__)
#include <immintrin.h>

#undef _tile_loadconfig
#define _tile_loadconfig(config) \
    __asm__ volatile("ldtilecfg\t%X0" : : "m"(*(const char (*)[64])(config)) : "memory")

#undef _tile_loadd
#define _tile_loadd(tile, base, stride) slmdesk_tile_loadd(tile, base, stride) /* a macro's name becomes its number */
#define slmdesk_tile_loadd(tile, base, stride)                                                       \
    __asm__ volatile("{tileloadd\t(%0,%1,1), %%tmm" #tile "|tileloadd\t%%tmm" #tile ", [%0+%1*1]}"   \
                     : : "r"((const void *)(base)), "r"((__PTRDIFF_TYPE__)(stride)) : "memory")
#endif
