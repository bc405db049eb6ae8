/* A Vulkan driver that crashes or hangs as soon as the loader speaks to it; STAND_IN_DRIVER says which. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
    const char *mode = getenv("STAND_IN_DRIVER");
    (void)version;
    while (mode && !strcmp(mode, "hangs")) sleep(1);
    *(volatile int *)8 = 1;
    return 0;
}

void *vk_icdGetInstanceProcAddr(void *instance, const char *name) {
    (void)instance;
    (void)name;
    return 0;
}
