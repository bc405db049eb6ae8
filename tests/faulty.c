/* Preloaded into an engine: raises SIGSEGV where native code of this machine would, told by FAULT.
 *
 * repack: when weights are computed that lie in the processor's extra buffers; flash: when flash attention was
 * built into a graph; load: when an extra buffer is made; always: without any reason. The first FAULT_AFTER graphs
 * are computed as they should be. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static int extra, flash, computed;

static void *real(const char *name) {
    void *library = dlopen("libggml-base.so.0", RTLD_LAZY | RTLD_NOLOAD);
    if (!library) library = dlopen("libggml-base.so", RTLD_LAZY | RTLD_NOLOAD);
    return library ? dlsym(library, name) : NULL;
}

static int told(const char *what) {
    const char *fault = getenv("FAULT");
    return fault && strcmp(fault, what) == 0;
}

void *ggml_backend_alloc_ctx_tensors_from_buft(void *context, void *type) {
    const char *(*name)(void *) = (const char *(*)(void *))real("ggml_backend_buft_name");
    void *(*allocate)(void *, void *) = (void *(*)(void *, void *))real(__func__);
    if (strstr(name(type), "REPACK") || strstr(name(type), "AMX")) {
        extra = 1;
        if (told("load")) raise(SIGSEGV);
    }
    return allocate(context, type);
}

void *ggml_flash_attn_ext(void *a, void *q, void *k, void *v, void *mask, float scale, float bias, float cap) {
    typedef void *(*build)(void *, void *, void *, void *, void *, float, float, float);
    flash = 1;
    return ((build)real(__func__))(a, q, k, v, mask, scale, bias, cap);
}

int ggml_backend_sched_graph_compute_async(void *scheduler, void *graph) {
    const char *after = getenv("FAULT_AFTER");
    if (computed++ >= (after ? atoi(after) : 0)) {
        if (told("always") || (told("repack") && extra) || (told("flash") && flash)) raise(SIGSEGV);
    }
    return ((int (*)(void *, void *))real(__func__))(scheduler, graph);
}
