/* A processor's AMX for programs on Linux that runs where there is none (LD_PRELOAD; amx.py compiles and uses it).
 *
 * The kernel's permission is granted, and each AMX instruction that the processor refuses (SIGILL) is carried out
 * here, with the rules of the Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: a tile
 * configuration that a processor would refuse, a tile that is not configured and shapes that do not fit each other end
 * the process with a sentence. What llama.cpp uses is here: configuring, loading, storing and zeroing tiles, and the
 * four products of bytes. On a processor with AMX nothing traps and nothing is emulated.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_REQ_XCOMP_PERM 0x1023
#define TILES 8
#define MOST_ROWS 16
#define MOST_BYTES 64 /* of a row */
#define REFUSED 86    /* exit status: the processor would have ended the program here */

struct configuration {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
};

struct tile {
    _Alignas(64) uint8_t row[MOST_ROWS][MOST_BYTES];
};

static __thread struct configuration now __attribute__((tls_model("initial-exec")));
static __thread struct tile tiles[TILES] __attribute__((tls_model("initial-exec")));
static long configured, carried_out;

long amx_configured(void) { return __atomic_load_n(&configured, __ATOMIC_RELAXED); }
long amx_carried_out(void) { return __atomic_load_n(&carried_out, __ATOMIC_RELAXED); }

static void refuse(const char *why, const struct configuration *given) {
    char text[512];
    int length = snprintf(text, sizeof text, "amx: %s", why);
    if (given != NULL) {
        const uint8_t *byte = (const uint8_t *)given;
        length += snprintf(text + length, sizeof text - length, "; the 64 bytes are");
        for (int i = 0; i < 64; i++)
            length += snprintf(text + length, sizeof text - length, " %02x", byte[i]);
    }
    length += snprintf(text + length, sizeof text - length, "\n");
    if (write(STDERR_FILENO, text, length) < 0) { /* the exit status tells as well */
    }
    _exit(REFUSED);
}

static void load_configuration(const struct configuration *given) {
    static const uint8_t zero[14];
    if (given->palette > 1)
        refuse("the tile configuration names a palette that does not exist", given);
    if (memcmp(given->reserved, zero, sizeof given->reserved) != 0)
        refuse("reserved bytes of the tile configuration are not zero", given);
    for (int i = 0; i < 16; i++) {
        if (i >= TILES && (given->bytes[i] || given->rows[i]))
            refuse("the tile configuration describes more than eight tiles", given);
        if (given->bytes[i] > MOST_BYTES || given->rows[i] > MOST_ROWS)
            refuse("the tile configuration describes a tile that is too large", given);
        if (!given->bytes[i] != !given->rows[i])
            refuse("the tile configuration describes a tile without rows or without columns", given);
    }
    now = *given;
    memset(tiles, 0, sizeof tiles);
    __atomic_fetch_add(&configured, 1, __ATOMIC_RELAXED);
}

static struct tile *used(int number) {
    if (number >= TILES || now.palette == 0 || now.rows[number] == 0)
        refuse("a tile is used that is not configured", &now);
    return &tiles[number];
}

static void load_tile(int number, const uint8_t *from, int64_t stride) {
    struct tile *into = used(number);
    memset(into, 0, sizeof *into);
    for (int i = 0; i < now.rows[number]; i++)
        memcpy(into->row[i], from + i * stride, now.bytes[number]);
}

static void store_tile(int number, uint8_t *to, int64_t stride) {
    const struct tile *from = used(number);
    for (int i = 0; i < now.rows[number]; i++)
        memcpy(to + i * stride, from->row[i], now.bytes[number]);
}

/* C += A · B, where four bytes of a row of A meet four bytes of a column of B: TDPBSSD and its three sisters. */
static void multiply(int c, int a, int b, int signed_a, int signed_b) {
    struct tile *sum = used(c);
    const struct tile *left = used(a), *right = used(b);
    if (now.rows[a] != now.rows[c] || now.bytes[b] != now.bytes[c] || now.bytes[a] != 4 * now.rows[b])
        refuse("tiles are multiplied whose shapes do not fit each other", &now);
    for (int m = 0; m < now.rows[c]; m++) {
        int32_t *into = (int32_t *)sum->row[m];
        for (int k = 0; k < now.rows[b]; k++)
            for (int n = 0; n < now.bytes[c] / 4; n++) {
                uint32_t products = 0; /* wraps as the processor's does */
                for (int i = 0; i < 4; i++) {
                    uint8_t one = left->row[m][4 * k + i], other = right->row[k][4 * n + i];
                    products += (uint32_t)((signed_a ? (int8_t)one : one) * (signed_b ? (int8_t)other : other));
                }
                into[n] = (int32_t)((uint32_t)into[n] + products);
            }
    }
    for (int m = now.rows[c]; m < MOST_ROWS; m++)
        memset(sum->row[m], 0, MOST_BYTES);
}

/* Registers in the order in which instructions number them. */
static const int REGISTERS[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                  REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

struct operand {
    uint8_t *address; /* base and displacement */
    int64_t index;    /* the scaled index: a stride for tiles, part of the address for others */
    int length;       /* bytes of ModRM, SIB and displacement */
};

/* The memory operand whose ModRM is at `at`; `after` is where the instruction would end without it. */
static struct operand decode(const uint8_t *at, const greg_t *registers, int base_bit, int index_bit) {
    int mod = at[0] >> 6, low = at[0] & 7, base = low | base_bit << 3;
    struct operand found = {NULL, 0, 1};
    int64_t address = 0;
    int sized = mod == 1 ? 1 : mod == 2 ? 4 : 0;
    if (low == 4) {
        int index = (at[1] >> 3 & 7) | index_bit << 3;
        base = (at[1] & 7) | base_bit << 3;
        found.length = 2;
        if (index != 4)
            found.index = (int64_t)((uint64_t)registers[REGISTERS[index]] << (at[1] >> 6));
        if ((at[1] & 7) == 5 && mod == 0)
            sized = 4;
        else
            address = registers[REGISTERS[base]];
    } else if (low == 5 && mod == 0) { /* relative to the next instruction */
        sized = 4;
        address = (int64_t)(intptr_t)at + 5;
    } else
        address = registers[REGISTERS[base]];
    if (sized == 1)
        address += (int8_t)at[found.length];
    else if (sized == 4) {
        int32_t far;
        memcpy(&far, at + found.length, 4);
        address += far;
    }
    found.length += sized;
    found.address = (uint8_t *)(intptr_t)address;
    return found;
}

/* Carry out the instruction at `code`; its length, or 0 where it is none of AMX. */
static int carry_out(const uint8_t *code, const greg_t *registers) {
    /* VEX in three bytes: map 0F38, no W, 128 bits. */
    if (code[0] != 0xC4 || (code[1] & 0x1F) != 2 || (code[2] & 0x84) != 0)
        return 0;
    int prefix = code[2] & 3; /* none, 66, F3, F2 */
    int third = ~(code[2] >> 3) & 15, mod = code[4] >> 6, reg = code[4] >> 3 & 7, low = code[4] & 7;
    if (mod == 3) {
        if (code[3] == 0x49 && prefix == 0 && code[4] == 0xC0) { /* TILERELEASE */
            memset(&now, 0, sizeof now);
            memset(tiles, 0, sizeof tiles);
        } else if (code[3] == 0x49 && prefix == 3 && low == 0) { /* TILEZERO */
            memset(used(reg), 0, sizeof(struct tile));
        } else if (code[3] == 0x5E) { /* TDPBUUD, TDPBUSD, TDPBSUD, TDPBSSD */
            multiply(reg, low, third, prefix >= 2, prefix == 1 || prefix == 3);
        } else
            return 0;
        return 5;
    }
    struct operand memory = decode(code + 4, registers, !(code[1] & 0x20), !(code[1] & 0x40));
    if (code[3] == 0x49 && reg == 0 && prefix == 0) { /* LDTILECFG */
        struct configuration given;
        memcpy(&given, memory.address + memory.index, sizeof given);
        if (given.palette == 0) {
            memset(&now, 0, sizeof now);
            memset(tiles, 0, sizeof tiles);
        } else
            load_configuration(&given);
    } else if (code[3] == 0x49 && reg == 0 && prefix == 1) { /* STTILECFG */
        memcpy(memory.address + memory.index, &now, sizeof now);
    } else if (code[3] == 0x4B && low == 4 && (prefix == 1 || prefix == 3)) { /* TILELOADDT1, TILELOADD */
        load_tile(reg, memory.address, memory.index);
    } else if (code[3] == 0x4B && low == 4 && prefix == 2) { /* TILESTORED */
        store_tile(reg, memory.address, memory.index);
    } else
        return 0;
    return 4 + memory.length;
}

static void on_illegal(int signal_number, siginfo_t *about, void *context) {
    (void)about;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    long done = 0;
    int length;
    while ((length = carry_out((const uint8_t *)registers[REG_RIP], registers)) != 0) {
        registers[REG_RIP] += length;
        done++;
    }
    if (done == 0) { /* another instruction that this processor lacks: end as without us */
        signal(signal_number, SIG_DFL);
        return;
    }
    __atomic_fetch_add(&carried_out, done, __ATOMIC_RELAXED);
}

__attribute__((constructor)) static void begin(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_illegal;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGILL, &action, NULL);
}

/* llama.cpp asks the kernel for the tiles through this function of the C library. */
long syscall(long number, ...) {
    va_list rest;
    va_start(rest, number);
    long one = va_arg(rest, long), two = va_arg(rest, long), three = va_arg(rest, long);
    register long four __asm__("r10") = va_arg(rest, long);
    register long five __asm__("r8") = va_arg(rest, long);
    register long six __asm__("r9") = va_arg(rest, long);
    va_end(rest);
    long answer;
    __asm__ volatile("syscall"
                     : "=a"(answer)
                     : "a"(number), "D"(one), "S"(two), "d"(three), "r"(four), "r"(five), "r"(six)
                     : "rcx", "r11", "memory");
    if (number == SYS_arch_prctl && one == ARCH_REQ_XCOMP_PERM)
        return 0;
    if (answer < 0 && answer > -4096) {
        errno = (int)-answer;
        return -1;
    }
    return answer;
}
