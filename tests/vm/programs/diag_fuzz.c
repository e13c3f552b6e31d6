// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Malformed and random requests to /dev/erdma: an errno or a good answer, nothing else, and no byte beyond what was
 * asked for.  Usage: diag_fuzz [RANDOM REQUESTS [SEED]].  Runs with any rights; without CAP_NET_ADMIN it also expects
 * that nothing can be changed.
 */
#include "erdma_ioctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int node;
static bool may_change;
static uint64_t state;

static uint64_t any(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* Numbers at which code tends to go wrong. */
static uint64_t odd(void) {
    static const uint64_t values[] = {0,         1,          2,           7,           8,          31,
                                      32,        63,         64,          255,         256,        4095,
                                      4096,      4097,       65535,       65536,       0x7fffffff, 0x80000000,
                                      1u << 20,  0xffffffff, 0x100000000, 0x1ffffffff, INT64_MAX,  UINT64_MAX - 1,
                                      UINT64_MAX};
    return any() % 3 ? values[any() % (sizeof(values) / sizeof(values[0]))] : any() >> any() % 64;
}

#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            printf("FAIL line %d: %s: ", __LINE__, #condition);                                                        \
            printf(__VA_ARGS__);                                                                                       \
            printf("\n");                                                                                              \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static void expect(unsigned long command, void *request, int error, const char *what) {
    errno = 0;
    int result = ioctl(node, command, request);
    CHECK(error ? result == -1 && errno == error : result == 0, "%s: result %d, %s, expected %s", what, result,
          strerror(errno), strerror(error));
}

/* ---- known mistakes ---- */

static const struct {
    const char *name;
    unsigned long command;
    uint32_t size;
} calls[] = {
    {"version", ERDMA_DIAG_GET_VERSION, sizeof(struct erdma_diag_version)},
    {"list", ERDMA_DIAG_GET_LIST, sizeof(struct erdma_diag_list)},
    {"dump", ERDMA_DIAG_GET_DUMP, sizeof(struct erdma_diag_dump)},
    {"set", ERDMA_DIAG_SET_CONF, sizeof(struct erdma_diag_set)},
};

static void wrong_sizes(void) {
    static uint32_t words[2048];
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        uint32_t bad[] = {0, 1, 4, 8, calls[i].size - 1, 4097, 0x80000000, 0xffffffff};
        for (size_t j = 0; j < sizeof(bad) / sizeof(bad[0]); j++) {
            memset(words, 0, sizeof(words));
            words[0] = bad[j];
            expect(calls[i].command, words, EINVAL, calls[i].name);
        }
        /* From the future: fine while what we do not know is zero. */
        memset(words, 0, sizeof(words));
        words[0] = calls[i].size + 8;
        words[calls[i].size / 4 + 1] = 1;
        expect(calls[i].command, words, E2BIG, calls[i].name);
        expect(calls[i].command, NULL, EFAULT, calls[i].name);
        expect(calls[i].command, (void *)8, EFAULT, calls[i].name);
        expect(calls[i].command, (void *)0xffff888000000000ul, EFAULT, calls[i].name);
        /* Ends on the last byte of mapped memory. */
        char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(pages != MAP_FAILED, "mmap");
        munmap(pages + 4096, 4096);
        uint32_t *edge = (uint32_t *)(pages + 4096 - 8);
        edge[0] = calls[i].size;
        edge[1] = 0;
        expect(calls[i].command, edge, EFAULT, calls[i].name);
        munmap(pages, 4096);
    }
    struct erdma_diag_version version = {.size = sizeof(version) + 0};
    expect(ERDMA_DIAG_GET_VERSION, &version, 0, "version");
    may_change = version.rights & ERDMA_RIGHT_CHANGE;
    words[0] = sizeof(version) + 8;
    memset(words + 1, 0, sizeof(version) + 4);
    expect(ERDMA_DIAG_GET_VERSION, words, 0, "version of the future");
    expect(_IOWR(ERDMA_DIAG_MAGIC, 77, struct erdma_diag_head), words, ENOTTY, "unknown request");
    expect(_IOWR(0x12, 0, struct erdma_diag_head), words, ENOTTY, "foreign request");
}

static struct erdma_diag_list good_list(uint32_t kind, void *entries, uint32_t size, uint32_t count) {
    return (struct erdma_diag_list){.size = sizeof(struct erdma_diag_list),
                                    .kind = kind,
                                    .entries = (uintptr_t)entries,
                                    .entry_size = size,
                                    .count = count};
}

static void wrong_lists(void) {
    static uint8_t room[64 * ERDMA_ENTRY_MOST];
    struct erdma_diag_list list;
#define WRONG(error, change)                                                                                           \
    do {                                                                                                               \
        list = good_list(ERDMA_KIND_EQ, room, 112, 4);                                                                 \
        change;                                                                                                        \
        expect(ERDMA_DIAG_GET_LIST, &list, error, #change);                                                            \
    } while (0)
    WRONG(0, (void)0);
    WRONG(EINVAL, list.flags = 2);
    WRONG(EINVAL, list.flags = 1u << 31);
    WRONG(EINVAL, list.kind = ERDMA_KIND_COUNT);
    WRONG(EINVAL, list.kind = UINT32_MAX);
    WRONG(EINVAL, list.count = ERDMA_LIST_MOST + 1);
    WRONG(EINVAL, list.count = UINT32_MAX);
    WRONG(EINVAL, list.entry_size = 7);
    WRONG(EINVAL, list.entry_size = ERDMA_ENTRY_MOST + 1);
    WRONG(ENODEV, list.device = 12345);
    WRONG(ENODEV, list.device = UINT32_MAX);
    WRONG(EINVAL, (list.kind = ERDMA_KIND_DEVICE, list.device = 1));
    WRONG(EFAULT, list.entries = 0);
    WRONG(EFAULT, list.entries = UINT64_MAX - 64);
    WRONG(EFAULT, list.entries = 0xffff888000000000ul);
    WRONG(0, list.count = 0);
    for (uint32_t kind = 0; kind < ERDMA_KIND_COUNT; kind++) {
        static const uint64_t cursors[] = {
            0,         1,         65535, 1u << 20, UINT32_MAX, ERDMA_CEP_LISTENERS, ERDMA_CEP_LISTENERS + UINT32_MAX,
            INT64_MAX, UINT64_MAX};
        for (size_t i = 0; i < sizeof(cursors) / sizeof(cursors[0]); i++)
            WRONG(0, (list.kind = kind, list.cursor = cursors[i], list.entry_size = 256, list.count = 8));
        /* What is not asked for stays as it is; what the driver does not know is zero. */
        memset(room, 0xa5, sizeof(room));
        list = good_list(kind, room, 512, 3);
        expect(ERDMA_DIAG_GET_LIST, &list, 0, "guarded list");
        for (size_t at = (size_t)list.count * 512; at < sizeof(room); at++)
            CHECK(room[at] == 0xa5, "kind %u wrote behind its %u entries", kind, list.count);
        for (uint32_t entry = 0; entry < list.count; entry++)
            for (size_t at = 256; at < 512; at++)
                CHECK(room[entry * 512 + at] == 0, "kind %u left something in the end of an entry", kind);
    }
}

static void wrong_dumps(void) {
    static uint8_t room[65536];
    struct erdma_diag_dump dump;
    struct erdma_diag_set set;
#define DUMP(error, change)                                                                                            \
    do {                                                                                                               \
        dump = (struct erdma_diag_dump){.size = sizeof(dump),                                                          \
                                        .ring = ERDMA_RING_EQ,                                                         \
                                        .count = 4,                                                                    \
                                        .data = (uintptr_t)room,                                                       \
                                        .data_bytes = sizeof(room)};                                                   \
        change;                                                                                                        \
        expect(ERDMA_DIAG_GET_DUMP, &dump, may_change ? error : EPERM, #change);                                       \
    } while (0)
    DUMP(0, (void)0);
    DUMP(EINVAL, dump.flags = 1);
    DUMP(EINVAL, dump.reserved = 1);
    DUMP(EINVAL, dump.ring = ERDMA_RING_COUNT);
    DUMP(EINVAL, dump.first = 4096);
    DUMP(EINVAL, dump.first = UINT32_MAX);
    DUMP(0, dump.count = UINT32_MAX);
    DUMP(0, dump.data_bytes = 15);
    DUMP(EFAULT, dump.data = 16);
    DUMP(ENODEV, dump.device = 99);
    DUMP(ENOENT, dump.number = 99);
    DUMP(ENOENT, (dump.ring = ERDMA_RING_SQ, dump.number = 0xfffff));
    DUMP(ENOENT, (dump.ring = ERDMA_RING_CQ, dump.number = UINT32_MAX));
    DUMP(ENOENT, (dump.ring = ERDMA_RING_CMD_SQ, dump.number = 1));
#define SET(error, change)                                                                                             \
    do {                                                                                                               \
        set = (struct erdma_diag_set){.size = sizeof(set), .value = 1, .name = "cc"};                                  \
        change;                                                                                                        \
        expect(ERDMA_DIAG_SET_CONF, &set, may_change ? error : EPERM, #change);                                        \
    } while (0)
    SET(0, (void)0);
    SET(EINVAL, set.flags = 1);
    SET(EINVAL, set.reserved = 1);
    SET(EINVAL, memset(set.name, 'c', sizeof(set.name)));
    SET(ENOENT, set.name[0] = 0);
    SET(ENOENT, set.name[2] = 'x');
    SET(ERANGE, set.value = 5);
    SET(ERANGE, set.value = UINT64_MAX);
    SET(ENODEV, set.device = 99);
}

/* ---- chance ---- */

static bool allowed(int error) {
    static const int errors[] = {EINVAL, E2BIG, EFAULT, ENODEV, ENOENT, EPERM, EOPNOTSUPP, ERANGE, ENOTTY};
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (errors[i] == error)
            return true;
    return false;
}

static void random_requests(unsigned long count) {
    enum { ROOM = 65536 }; /* twice what a request with a good pointer may fill */
    uint8_t *room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned long good = 0;
    CHECK(room != MAP_FAILED, "mmap");
    for (unsigned long i = 0; i < count; i++) {
        union {
            uint32_t words[32];
            uint64_t longs[16];
            struct erdma_diag_list list;
            struct erdma_diag_dump dump;
        } request = {{0}};
        size_t which = any() % 4;
        unsigned long command = calls[which].command;
        for (size_t word = 0; word < 16; word++)
            request.longs[word] = any() % 2 ? 0 : odd();
        request.words[0] = any() % 8 ? calls[which].size : (uint32_t)odd();
        if (which == 1 && any() % 4) {
            request.list.flags &= 1;
            request.list.kind %= ERDMA_KIND_COUNT;
            request.list.device = any() % 4 ? 0 : request.list.device;
            request.list.entries = (uintptr_t)room + any() % (ROOM / 2);
            request.list.entry_size = 8 + any() % 300;
            request.list.count = any() % 80;
        } else if (which == 2 && any() % 4) {
            request.dump.flags = request.dump.reserved = request.dump.device = 0;
            request.dump.ring %= ERDMA_RING_COUNT + 1;
            request.dump.number = any() % 8;
            request.dump.data = (uintptr_t)room;
            request.dump.data_bytes = any() % (ROOM / 2);
        } else if (which == 3) {
            request.words[2] = UINT32_MAX; /* of no device: settings are not to be changed by chance */
        }
        if (any() % 16 == 0)
            command = any();
        if (ioctl(node, command, any() % 64 ? (void *)&request : (void *)(uintptr_t)odd()) == 0)
            good++;
        else
            CHECK(allowed(errno), "request %lu (%lx): %s", i, command, strerror(errno));
    }
    munmap(room, ROOM);
    CHECK(count < 1000 || good > count / 100, "only %lu of %lu requests were good", good, count);
    printf("ok random: %lu of %lu requests were good\n", good, count);
}

int main(int argc, char **argv) {
    state = argc > 2 ? strtoull(argv[2], NULL, 0) : 88172645463325252ull;
    node = open("/dev/" ERDMA_DIAG_NODE, O_RDONLY | O_CLOEXEC);
    CHECK(node >= 0, "/dev/%s: %s", ERDMA_DIAG_NODE, strerror(errno));
    wrong_sizes();
    wrong_lists();
    wrong_dumps();
    printf("ok mistakes\n");
    random_requests(argc > 1 ? strtoul(argv[1], NULL, 0) : 1000);
    return 0;
}
