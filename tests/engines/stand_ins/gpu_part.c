/* A part of ggml for a GPU that is not there: it lists one device, or crashes or hangs as a broken driver does.
   STAND_IN_DRIVER says which: "lists", "crashes", "hangs", or a file's name: the first process makes it and lists, all
   others crash. The device it lists says that it has free memory and has
   none, as a GPU whose memory another program took a moment ago. Layout: ggml-backend-impl.h, API version 2. */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <windows.h>
#define EXPORT __declspec(dllexport)
#define PAUSE() Sleep(1000)
#else
#include <unistd.h>
#define EXPORT __attribute__((visibility("default")))
#define PAUSE() sleep(1)
#endif

struct properties {
    const char *name, *description;
    size_t free, total;
    int type;
    const char *device_id;
    bool abilities[5];
};

struct part;
struct device;
struct buffers {
    const char *(*get_name)(struct buffers *);
    void *(*allocate)(struct buffers *, size_t);
    size_t (*alignment)(struct buffers *);
    void *others[3];
    struct device *device;
    void *context;
};
struct device {
    const char *(*get_name)(struct device *);
    const char *(*get_description)(struct device *);
    void (*get_memory)(struct device *, size_t *, size_t *);
    int (*get_type)(struct device *);
    void (*get_properties)(struct device *, struct properties *);
    void *(*start)(struct device *, const char *);
    struct buffers *(*get_buffers)(struct device *);
    void *not_there[2];
    bool (*computes)(struct device *, const void *);
    bool (*takes)(struct device *, const void *);
    void *neither[4];
    struct part *part;
    void *context;
};
struct part {
    int version;
    const char *(*get_name)(struct part *);
    size_t (*count)(struct part *);
    struct device *(*get)(struct part *, size_t);
    void *(*procedure)(struct part *, const char *);
    void *context;
};

static const size_t TOTAL = 8000000000u, FREE = 6000000000u;
static const char *device_name(struct device *device) { (void)device; return "StandIn0"; }
static const char *description(struct device *device) { (void)device; return "Stand-in GPU"; }
static void memory(struct device *device, size_t *free, size_t *total) {
    (void)device;
    *free = FREE;
    *total = TOTAL;
}
static int type(struct device *device) { (void)device; return 1; }
static void properties(struct device *device, struct properties *found) {
    memset(found, 0, sizeof(*found));
    found->name = device_name(device);
    found->description = description(device);
    found->free = FREE;
    found->total = TOTAL;
    found->type = 1;
}
static const char *buffers_name(struct buffers *buffers) { (void)buffers; return "StandIn0"; }
static void *allocate(struct buffers *buffers, size_t size) { (void)buffers; (void)size; return 0; }
static size_t alignment(struct buffers *buffers) { (void)buffers; return 64; }
static struct buffers buffers = {buffers_name, allocate, alignment, {0}, 0, 0};
static void *start(struct device *device, const char *words) { (void)device; (void)words; return 0; }
static struct buffers *get_buffers(struct device *device) {
    buffers.device = device;
    return &buffers;
}
static bool computes(struct device *device, const void *operation) { (void)device; (void)operation; return true; }
static bool takes(struct device *device, const void *asked) { (void)device; return asked == &buffers; }
static struct device device = {
    device_name, description, memory, type, properties, start, get_buffers, {0}, computes, takes, {0}, 0, 0,
};

static const char *part_name(struct part *part) { (void)part; return "StandIn"; }
static size_t count(struct part *part) { (void)part; return 1; }
static struct device *get(struct part *part, size_t index) { (void)index; device.part = part; return &device; }
static struct part part = {2, part_name, count, get, 0, 0};

EXPORT struct part *ggml_backend_init(void) {
    const char *mode = getenv("STAND_IN_DRIVER");
    if (mode && !strcmp(mode, "crashes")) *(volatile int *)8 = 1;
    while (mode && !strcmp(mode, "hangs")) PAUSE();
    if (mode && strchr(mode, '.')) {
        FILE *mark = fopen(mode, "r");
        if (mark) *(volatile int *)8 = 1;
        mark = fopen(mode, "w");
        if (mark) fclose(mark);
    }
    return &part;
}
